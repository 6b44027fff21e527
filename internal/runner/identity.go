package runner

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Identity is a user inside.
type Identity struct {
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"` // supplementary ones
}

// Account is an Identity with what the root's /etc/passwd says of it.
type Account struct {
	Identity
	Name string // "" if the root does not know the user
	Home string
}

func (u *Identity) words() []string {
	w := []string{fmt.Sprintf("%d:%d", u.UID, u.GID)}
	for _, g := range u.Groups {
		w = append(w, strconv.FormatUint(uint64(g), 10))
	}
	return w
}

// checkUser refuses ids that the container has not.
func (s *Spec) checkUser() error {
	if s.User == nil {
		return nil
	}
	ids := append([]uint32{s.User.UID, s.User.GID}, s.User.Groups...)
	for _, id := range ids {
		switch {
		case s.singleID() && id != 0:
			return &SpecError{Problem: fmt.Sprintf("id %d: there is no id inside but 0", id), Fix: "have ranges in /etc/subuid and /etc/subgid (docs/rootless.md), or run it as root inside"}
		case s.ownUsers() && id >= s.IDs.Size, id == ^uint32(0):
			return &SpecError{Problem: fmt.Sprintf("id %d is not mapped inside", id), Fix: fmt.Sprintf("use ids below %d", s.IDs.Size)}
		}
	}
	if len(s.User.Groups) > 1024 {
		return &SpecError{Problem: fmt.Sprintf("%d supplementary groups", len(s.User.Groups)), Fix: "at most 1024 are possible here"}
	}
	return nil
}

// user becomes the Identity; then this is still the memory of the host process, which nobody inside may look into.
func (l *lowering) user() {
	u := l.spec.User
	if !l.spec.singleID() {
		groups := append([]uint32{u.GID}, u.Groups...)
		l.add("setgroups", unix.SYS_SETGROUPS, len(u.Groups), hold(l.table, &groups[min(1, len(u.Groups))]))
		l.keep = append(l.keep, groups)
		l.add("setresgid", unix.SYS_SETRESGID, int(u.GID), int(u.GID), int(u.GID))
		l.add("setresuid", unix.SYS_SETRESUID, int(u.UID), int(u.UID), int(u.UID))
	}
	l.mortal()
}

// maxPasswd bounds what is read of a root's files.
const maxPasswd = 4 << 20

// FindAccount resolves NAME|UID[:GROUP|GID] by /etc/passwd and /etc/group of the root at a directory. A number need not
// be known there.
func FindAccount(root, user string) (Account, error) {
	who, group, hasGroup := strings.Cut(user, ":")
	if who == "" || hasGroup && group == "" {
		return Account{}, &SpecError{Problem: fmt.Sprintf("user %q", user), Fix: "use NAME, UID, NAME:GROUP or UID:GID"}
	}
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Account{}, fmt.Errorf("look up user %s: %s: %w", who, root, err)
	}
	defer unix.Close(dir)
	passwd, err := readInside(dir, "etc/passwd")
	if err != nil {
		return Account{}, fmt.Errorf("look up user %s: %w", who, err)
	}
	groups, err := readInside(dir, "etc/group")
	if err != nil {
		return Account{}, fmt.Errorf("look up user %s: %w", who, err)
	}
	a := Account{Home: "/"}
	number, isNumber := id(who)
	found := false
	for f := range entries(passwd, 7) {
		uid, ok1 := id(f[2])
		gid, ok2 := id(f[3])
		if !ok1 || !ok2 || !(f[0] == who || isNumber && uid == number) {
			continue
		}
		a.Name, a.UID, a.GID, found = f[0], uid, gid, true
		if strings.HasPrefix(f[5], "/") {
			a.Home = f[5]
		}
		break
	}
	if !found {
		if !isNumber {
			return a, &SpecError{Problem: fmt.Sprintf("no user %q in the root's /etc/passwd", who), Fix: "use a name that is there, or a number"}
		}
		a.UID = number
	}
	if hasGroup {
		if a.GID, err = findGroup(groups, group); err != nil {
			return a, err
		}
		return a, nil
	}
	for f := range entries(groups, 4) {
		gid, ok := id(f[2])
		if ok && a.Name != "" && gid != a.GID && slices.Contains(strings.Split(f[3], ","), a.Name) && len(a.Groups) < 1024 {
			a.Groups = append(a.Groups, gid)
		}
	}
	return a, nil
}

func findGroup(groups []byte, name string) (uint32, error) {
	for f := range entries(groups, 4) {
		if gid, ok := id(f[2]); ok && f[0] == name {
			return gid, nil
		}
	}
	if gid, ok := id(name); ok {
		return gid, nil
	}
	return 0, &SpecError{Problem: fmt.Sprintf("no group %q in the root's /etc/group", name), Fix: "use a name that is there, or a number"}
}

// id reads a number that is an id; the highest means none.
func id(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && uint32(n) != ^uint32(0)
}

// entries are the lines of a file that have so many fields.
func entries(file []byte, fields int) func(func([]string) bool) {
	return func(yield func([]string) bool) {
		sc := bufio.NewScanner(bytes.NewReader(file))
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			if f := strings.Split(sc.Text(), ":"); len(f) == fields && !yield(f) {
				return
			}
		}
	}
}

// readInside reads a plain file of a root, to which links lead only inside it. One that is not there is empty.
func readInside(root int, name string) ([]byte, error) {
	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(root, name, &how)
	for n := 0; err == unix.EAGAIN && n < 4096; n++ {
		fd, err = unix.Openat2(root, name, &how)
	}
	if err == unix.ENOENT {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("/%s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, &SpecError{Problem: "/" + name + " in the root is no plain file", Fix: "give the user as a number with a root that has one"}
	}
	b, err := io.ReadAll(io.LimitReader(f, maxPasswd+1))
	if err == nil && len(b) > maxPasswd {
		err = &SpecError{Problem: "/" + name + " in the root is larger than 4 MiB", Fix: "use another root"}
	}
	return b, err
}
