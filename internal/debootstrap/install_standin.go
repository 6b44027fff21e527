package debootstrap

import (
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/debootstrap/unpack"
)

// standIn is divert that leaves no trace, not even in its directory's time: debootstrap, which the tree is to
// equal, does not touch these programs. What scripts do to the stand-in they mean for the program. Only a plain
// file is stood in for, and only where no package has a file of the name that it would get.
func (in *installer) standIn(u *undoing, name, stub string) error {
	st, err := in.t.Lstat(name)
	if errors.Is(err, unix.ENOENT) || err == nil && (st.Mode&unix.S_IFMT != unix.S_IFREG || in.t.Exists(name+diverted)) {
		return nil
	}
	if err != nil {
		return err
	}
	var own undoing
	err = in.t.KeepTime(path.Dir(name), func() error { return in.divert(&own, name, stub) })
	if own.steps != nil {
		u.add(func() error {
			return in.t.KeepTime(path.Dir(name), func() error { return in.putBack(name, stub, st) })
		})
	}
	return err
}

// putBack puts the program was back in its stand-in's place: where that was, where a script has moved it by
// dpkg-divert, or nowhere if it is gone.
func (in *installer) putBack(name, stub string, was unix.Stat_t) error {
	put := func(err error) error { return fmt.Errorf("put %s back: %w", name, err) }
	st, err := in.t.Lstat(name + diverted)
	if err != nil {
		return put(err)
	}
	if st.Ino != was.Ino || st.Size != was.Size || st.Mtim != was.Mtim {
		return put(fmt.Errorf("a package replaced %s, which is its name while packages are configured", name+diverted))
	}
	at, now, err := in.findStub(name, stub)
	if err != nil {
		return put(err)
	}
	if at == "" { // a package has its own, or wants none
		if err := in.t.Remove(name + diverted); err != nil {
			return put(err)
		}
		return nil
	}
	if now.Mode&0o7777 != 0o755 || now.Uid != 0 || now.Gid != 0 {
		m := unpack.Meta{Mode: now.Mode & 0o7777, UID: int(now.Uid), GID: int(now.Gid)}
		if err := in.t.SetMeta(name+diverted, m); err != nil {
			return put(err)
		}
	}
	if err := in.t.Rename(name+diverted, at); err != nil {
		return put(err)
	}
	return nil
}

// findStub says where in its directory a stand-in is now, "" if it is gone.
func (in *installer) findStub(name, stub string) (string, unix.Stat_t, error) {
	if st, ok, err := in.isStub(name, stub); ok || err != nil {
		return name, st, err
	}
	entries, err := in.t.ReadDir(path.Dir(name))
	if err != nil {
		return "", unix.Stat_t{}, err
	}
	for _, e := range entries {
		n := path.Join(path.Dir(name), e.Name)
		if st, ok, err := in.isStub(n, stub); ok || err != nil {
			return n, st, err
		}
	}
	return "", unix.Stat_t{}, nil
}

func (in *installer) isStub(name, stub string) (unix.Stat_t, bool, error) {
	st, err := in.t.Lstat(name)
	if errors.Is(err, unix.ENOENT) {
		return st, false, nil
	}
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != int64(len(stub)) {
		return st, false, err
	}
	b, err := in.t.ReadFile(name, st.Size)
	return st, string(b) == stub, err
}
