package container

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// UserCache is the cache of an ordinary user. Under sudo -u and su the variables may be those of the user who called it:
// a folder of another is passed over for the home that the user database has, if there is one.
func UserCache(getenv func(string) string, uid int, owner func(string) (int, bool), home func(int) string) string {
	var first string
	for _, dir := range []string{getenv("XDG_CACHE_HOME"), getenv("HOME")} {
		if !filepath.IsAbs(dir) {
			continue
		}
		cache := filepath.Join(dir, "rootctl")
		if dir == getenv("HOME") && dir != getenv("XDG_CACHE_HOME") {
			cache = filepath.Join(dir, ".cache", "rootctl")
		}
		if o, there := owner(dir); !there || o == uid {
			return cache
		}
		if first == "" {
			first = cache
		}
	}
	if dir := home(uid); first != "" && dir != "" {
		if o, there := owner(dir); there && o == uid {
			return filepath.Join(dir, ".cache", "rootctl")
		}
	}
	return first
}

// OwnerOf is who owns a folder that is there.
func OwnerOf(dir string) (uid int, there bool) {
	st, err := os.Stat(dir)
	if err != nil {
		return 0, false
	}
	return int(st.Sys().(*syscall.Stat_t).Uid), true
}

// PasswdHome is the home that the user database has for a user, "" without one.
func PasswdHome(uid int) string {
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return ""
	}
	return u.HomeDir
}

// RecordsPath is the folder of the records of root's containers, or of a user's own. After su or sudo -u the variable
// may still name the folder of whoever called.
func RecordsPath(getenv func(string) string, uid int) string {
	if uid == 0 {
		return RootsRecords
	}
	if dir := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		if owner, there := OwnerOf(dir); there && owner == uid {
			return filepath.Join(dir, "rootctl", "containers")
		}
	}
	return filepath.Join(fmt.Sprintf("/tmp/rootctl-%d", uid), "containers")
}
