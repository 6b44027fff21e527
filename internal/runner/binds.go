package runner

import (
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"
)

// checkBinds refuses places inside that a bind cannot or should not have.
func (s *Spec) checkBinds() error {
	at := make(map[string]string, len(s.Binds))
	for _, b := range s.Binds {
		bad := func(hint, format string, a ...any) error {
			return &SpecError{Problem: fmt.Sprintf(format, a...), Fix: hint}
		}
		src, twice := at[b.Dst]
		switch {
		case !path.IsAbs(b.Dst) || b.Dst == "/" || b.Src == "":
			return bad("use SRC:DST with an absolute DST below /", "bind of %q at %q", b.Src, b.Dst)
		case kernels(b.Dst) && !s.Bare: // a bare container has nothing there
			return bad(kernelsHint, "bind of %q at %q: %s", b.Src, b.Dst, kernelsProblem)
		case twice:
			return bad("one of them would hide the other; give each a place of its own", "binds of %q and %q, both at %q", src, b.Src, b.Dst)
		}
		at[b.Dst] = b.Src
	}
	return nil
}

// bindTrees are the detached mounts of the Spec's binds, in order.
type bindTrees []int

func (b bindTrees) close() {
	for _, fd := range b {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// binder makes the mounts for a given identity of root.
type binder struct {
	c     *container
	root  owner
	users map[owner]int // user namespaces that map an owner to root
	notes []string
}

func (b *binder) note(format string, a ...any) {
	b.notes = append(b.notes, fmt.Sprintf(format, a...))
}

func (b *binder) close() {
	for _, fd := range b.users {
		unix.Close(fd)
	}
}

// prepareBinds takes the sources of all binds. It also decides whom on the host root of the container is: the first id
// of the range, unless a source cannot be idmapped, when only its owner himself can write there.
func (c *container) prepareBinds() (owner, bindTrees, error) {
	root := owner{}
	if c.spec.ownUsers() {
		root = owner{c.spec.IDs.Base, c.spec.IDs.Base}
	}
	if len(c.spec.Binds) == 0 {
		return root, nil, nil
	}
	trees, forced, err := c.takeBinds(root, nil)
	if err != nil || forced == nil {
		return root, trees, err
	}
	trees.close()
	trees, _, err = c.takeBinds(*forced, forced)
	return *forced, trees, err
}

// takeBinds makes all mounts for one identity of root. Without forced, the first owner that root would have to be is
// returned instead of giving up on that source.
func (c *container) takeBinds(root owner, forced *owner) (bindTrees, *owner, error) {
	b := &binder{c: c, root: root, users: map[owner]int{}}
	defer b.close()
	var trees bindTrees
	for _, op := range c.plan {
		if op.Verb != VerbBindSrc {
			continue
		}
		fd, want, err := b.take(op, forced)
		if err != nil {
			return trees, nil, err
		}
		if want != nil {
			return trees, want, nil
		}
		trees = append(trees, fd)
	}
	for _, n := range b.notes {
		c.note("%s", n)
	}
	return trees, nil, nil
}

// take makes one detached mount, with what is mounted below the source if that can be had. want is set if the source
// works only with root being someone else.
func (b *binder) take(op Op, forced *owner) (fd int, want *owner, err error) {
	if op.Attrs&unix.MOUNT_ATTR_IDMAP == 0 {
		fd, err = cloneBind(op, unix.AT_RECURSIVE, op.Attrs, 0)
		return fd, nil, stepError(op, "mount_setattr", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(op.Source, &st); err != nil {
		return -1, nil, stepError(op, "stat", err)
	}
	src := owner{st.Uid, st.Gid}
	users, err := b.userNS(src)
	if err != nil {
		return -1, nil, stepError(op, "user namespace", err)
	}
	for _, recursive := range []uint{unix.AT_RECURSIVE, 0} {
		fd, err = cloneBind(op, recursive, op.Attrs, users)
		if err == nil {
			if recursive == 0 {
				b.note("file systems mounted below %s are not visible inside: ids cannot be mapped on all of them", op.Source)
			}
			return fd, nil, nil
		}
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EOPNOTSUPP) {
			return -1, nil, stepError(op, "mount_setattr", err)
		}
	}
	return b.unmapped(op, src, forced)
}

// cloneBind clones the mount of a source and gives the clone its attributes. It is private: what is mounted there later,
// on either side, does not show on the other.
func cloneBind(op Op, recursive uint, attrs uint64, users int) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, op.Source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|recursive)
	if err != nil {
		return -1, stepError(op, "open_tree", err)
	}
	a := unix.MountAttr{Attr_set: attrs, Propagation: unix.MS_PRIVATE}
	if op.shared {
		a.Propagation = 0
	}
	if attrs&unix.MOUNT_ATTR_IDMAP != 0 {
		a.Userns_fd = uint64(users)
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|recursive, &a); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// unmapped deals with a source whose file system cannot be idmapped.
func (b *binder) unmapped(op Op, src owner, forced *owner) (int, *owner, error) {
	attrs := op.Attrs &^ unix.MOUNT_ATTR_IDMAP
	switch {
	case !b.c.spec.ownUsers() && src.uid == 0, forced != nil && src.uid == forced.uid:
	case b.c.spec.ownUsers() && forced == nil && src.uid != 0:
		want := src
		if want.gid == 0 {
			want.gid = b.c.spec.IDs.Base // no process of a container is ever in the host's group root
		}
		return -1, &want, nil
	default:
		if attrs&unix.MOUNT_ATTR_RDONLY == 0 {
			b.note("%s is read-only inside: ids cannot be mapped on its file system, and root of the container cannot be user %d; use a directory on ext4, xfs, btrfs or tmpfs, or one that belongs to you", op.Source, src.uid)
		}
		attrs |= unix.MOUNT_ATTR_RDONLY
	}
	fd, err := cloneBind(op, unix.AT_RECURSIVE, attrs, 0)
	return fd, nil, stepError(op, "mount_setattr", err)
}

// userNS gives the namespace that maps src to root and nobody else.
func (b *binder) userNS(src owner) (int, error) {
	if fd, ok := b.users[src]; ok {
		return fd, nil
	}
	fd, err := mappedUserNS(src, b.root)
	if err == nil {
		b.users[src] = fd
	}
	return fd, err
}
