package main

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// userCache is the cache of an ordinary user. Under sudo -u and su the variables may be those of the user who called it:
// a folder of another is passed over for the home that the user database has, if there is one.
func userCache(getenv func(string) string, uid int, owner func(string) (int, bool), home func(int) string) string {
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

func ownerOf(dir string) (uid int, there bool) {
	st, err := os.Stat(dir)
	if err != nil {
		return 0, false
	}
	return int(st.Sys().(*syscall.Stat_t).Uid), true
}

func passwdHome(uid int) string {
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return ""
	}
	return u.HomeDir
}
