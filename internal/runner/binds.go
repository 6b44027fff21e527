package runner

import (
	"golang.org/x/sys/unix"
)

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
		trees = append(trees, fd)
		if want != nil {
			return trees, want, nil
		}
	}
	return trees, nil, nil
}

// take makes one detached mount. want is set if it works only with root being someone else.
func (b *binder) take(op Op, forced *owner) (fd int, want *owner, err error) {
	fd, err = unix.OpenTree(unix.AT_FDCWD, op.Source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, nil, stepError(op, "open_tree", err)
	}
	attr := unix.MountAttr{Attr_set: op.Attrs, Propagation: unix.MS_PRIVATE}
	if op.Attrs&unix.MOUNT_ATTR_IDMAP == 0 {
		return fd, nil, b.set(op, fd, &attr)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fd, nil, stepError(op, "fstat", err)
	}
	src := owner{st.Uid, st.Gid}
	users, err := b.userNS(src)
	if err != nil {
		return fd, nil, stepError(op, "user namespace", err)
	}
	attr.Userns_fd = uint64(users)
	err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr)
	if err == nil {
		return fd, nil, nil
	}
	if err != unix.EINVAL && err != unix.EPERM && err != unix.EOPNOTSUPP {
		return fd, nil, stepError(op, "mount_setattr", err)
	}
	return b.unmapped(op, fd, src, forced)
}

// unmapped deals with a source whose file system cannot be idmapped.
func (b *binder) unmapped(op Op, fd int, src owner, forced *owner) (int, *owner, error) {
	attr := unix.MountAttr{Attr_set: op.Attrs &^ unix.MOUNT_ATTR_IDMAP, Propagation: unix.MS_PRIVATE}
	readOnly := attr.Attr_set&unix.MOUNT_ATTR_RDONLY != 0
	switch {
	case !b.c.spec.ownUsers() && src.uid == 0, forced != nil && src.uid == forced.uid:
	case b.c.spec.ownUsers() && forced == nil && src.uid != 0:
		want := src
		if want.gid == 0 {
			want.gid = b.c.spec.IDs.Base // no process of a container is ever in the host's group root
		}
		return fd, &want, nil
	default:
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
		if !readOnly {
			b.c.note("%s is read-only inside: ids cannot be mapped on its file system, and root of the container cannot be user %d; use a directory on ext4, xfs, btrfs or tmpfs, or one that belongs to you", op.Source, src.uid)
		}
	}
	return fd, nil, b.set(op, fd, &attr)
}

func (b *binder) set(op Op, fd int, attr *unix.MountAttr) error {
	return stepError(op, "mount_setattr", unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, attr))
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
