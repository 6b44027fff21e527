package nat

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Sweep makes the network that of the living. except is the number of a claim that ends, -1 for none.
func Sweep(dir string, except int) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer unlock()
	return sweep(dir, except)
}

// sweep is Sweep under the lock.
func sweep(dir string, except int) error {
	live, err := alive(dir, except)
	if err != nil {
		return err
	}
	if except >= 0 {
		_ = os.Remove(filepath.Join(dir, strconv.Itoa(except)))
	}
	if _, err = sync(dir, netip.Prefix{}, live); err == nil && len(live) == 0 {
		leave(dir)
	}
	return err
}

// Tidy takes away what is left of containers that have all been killed, each with its rootctl and its keeper: in this
// process's network namespace, and the folders below base of namespaces that are gone. Where nothing is left it is cheap.
func Tidy(base string) error {
	entries, err := os.ReadDir(base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the networks: %w", err)
	}
	here, err := Dir(base)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if dir := filepath.Join(base, e.Name()); e.IsDir() {
			errs = append(errs, tidy(dir, dir == here))
		}
	}
	return errors.Join(errs...)
}

func tidy(dir string, here bool) error {
	unlock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer unlock()
	dead, held, err := claims(dir)
	switch {
	case err != nil:
		return err
	case here && (len(dead) > 0 || held == 0):
		return sweep(dir, -1)
	case !here && held == 0:
		return forget(dir, dead)
	}
	return nil
}

// claims lists the claims of a folder, whose lock is held, that nobody holds, and counts the others.
func claims(dir string) (dead []string, held int, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, 0, fmt.Errorf("read the claims: %w", err)
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		name := filepath.Join(dir, e.Name())
		f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOFOLLOW, 0)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			dead = append(dead, name)
		} else {
			held++
		}
		f.Close()
	}
	return dead, held, nil
}

// forget removes the folder of a namespace that is gone, whose lock is held. That of one which is there is put back by
// whoever comes next in it.
func forget(dir string, dead []string) error {
	st, err := readState(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) || err == nil && (st.Netns == 0 || namespaces()[st.Netns]) {
		return nil
	}
	for _, name := range append(dead, filepath.Join(dir, "state.json"), filepath.Join(dir, "state.new")) {
		_ = os.Remove(name)
	}
	leave(dir)
	return nil
}

// namespaces lists the inodes of the network namespaces that a process is in, or has open, or that are bound to a name here.
func namespaces() map[uint64]bool {
	seen := map[uint64]bool{}
	add := func(link string) {
		if n, ok := strings.CutPrefix(link, "net:["); ok {
			if inode, err := strconv.ParseUint(strings.TrimSuffix(n, "]"), 10, 64); err == nil {
				seen[inode] = true
			}
		}
	}
	for _, pattern := range []string{"/proc/[0-9]*/task/[0-9]*/ns/net", "/proc/[0-9]*/fd/*"} {
		names, _ := filepath.Glob(pattern) // fails for a bad pattern alone
		for _, n := range names {
			link, _ := os.Readlink(n) // of a process that has ended: none
			add(link)
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for word := range strings.FieldsSeq(string(mounts)) {
		add(word)
	}
	return seen
}

// ownNetns is the inode of this thread's network namespace.
func ownNetns() uint64 {
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		return 0
	}
	return st.Ino
}
