package snapshot

import (
	"context"
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"
)

// PlaceOptions say what a tree is to be.
type PlaceOptions struct {
	NoDevices bool        // leave device nodes out
	NoOwners  bool        // leave all to the user that makes it
	Progress  func(int64) // called with bytes of files written; may be nil
}

// Placed says what Place left out.
type Placed struct {
	Devices, Owners, Attributes int // entries without their node, owner, or an attribute that the file system does not take
}

// Place makes the tree that m says in the empty directory dst, contents from tree: owners, modes, times, attributes,
// hard links, device nodes. A file that is not what m says is a *TreeError.
func (m *Manifest) Place(ctx context.Context, tree, dst string, o PlaceOptions) (Placed, error) {
	p := &placer{o: o}
	err := m.Check()
	if err == nil {
		err = p.open(tree, dst)
	}
	if err == nil {
		err = run(ctx, workers(0), func(emit func(*job) error) error { return p.produce(m, emit) }, p.consume)
		if err == nil {
			err = p.finishDirs(m)
		}
		p.close()
	}
	if err != nil {
		return p.left, fmt.Errorf("place a tree in %s: %w", dst, treeError(err))
	}
	return p.left, nil
}

type placer struct {
	o        PlaceOptions
	src, dst int
	dir      string // the directory that fd is
	fd       int
	done     int64
	left     Placed
}

func (p *placer) open(tree, dst string) (err error) {
	if p.src, err = unix.Open(tree, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("open %s: %w", tree, err)
	}
	if p.dst, err = unix.Open(dst, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		unix.Close(p.src)
		return fmt.Errorf("open %s: %w", dst, err)
	}
	p.dir, p.fd = ".", p.dst
	return nil
}

func (p *placer) close() {
	p.leave()
	unix.Close(p.src)
	unix.Close(p.dst)
}

func (p *placer) leave() {
	if p.fd != p.dst {
		unix.Close(p.fd)
	}
	p.dir, p.fd = ".", p.dst
}

func (p *placer) produce(m *Manifest, emit func(*job) error) error {
	for i := range m.Entries {
		j := &job{entry: m.Entries[i], fd: -1}
		if j.entry.Type == TypeFile {
			fd, err := openContent(p.src, &j.entry)
			if err != nil {
				return err
			}
			j.fd = fd
		}
		if err := emit(j); err != nil {
			return err
		}
	}
	return nil
}

// enter opens the directory that holds e. Nobody else writes to dst, and no link leads there: the directories are those
// that were made here.
func (p *placer) enter(e *Entry) (string, error) {
	dir, name := parent(e.Path), path.Base(e.Path)
	if dir == p.dir {
		return name, nil
	}
	p.leave()
	if dir == "." {
		return name, nil
	}
	fd, err := openBeneathAs(p.dst, dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err == nil {
		p.dir, p.fd = dir, fd
	}
	return name, err
}

func (p *placer) consume(j *job, each func(func([]byte) error) error) error {
	e := &j.entry
	if e.Path == "." {
		return nil
	}
	name, err := p.enter(e)
	if err != nil {
		return err
	}
	switch e.Type {
	case TypeDir:
		return unix.Mkdirat(p.fd, name, 0o700)
	case TypeHardlink:
		return unix.Linkat(p.dst, e.Link, p.fd, name, 0)
	case TypeSymlink:
		if err := unix.Symlinkat(e.Link, p.fd, name); err != nil {
			return err
		}
		return p.settle(-1, name, e)
	case TypeFile:
		return p.file(j, name, each)
	}
	return p.node(name, e)
}

func (p *placer) file(j *job, name string, each func(func([]byte) error) error) error {
	fd, err := unix.Openat(p.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = each(func(b []byte) error {
		p.done += int64(len(b))
		return writeFull(fd, b)
	})
	if err != nil {
		return err
	}
	if j.sum != j.entry.SHA256 {
		return fmt.Errorf("%w: its digest is %s, not %s", errContent, j.sum.Short(), j.entry.SHA256.Short())
	}
	if p.o.Progress != nil {
		p.o.Progress(p.done)
	}
	return p.settle(fd, name, &j.entry)
}

func writeFull(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("write: %w", err)
		}
		b = b[max(n, 0):]
	}
	return nil
}

// node makes a device or fifo.
func (p *placer) node(name string, e *Entry) error {
	kind := map[byte]uint32{TypeChar: unix.S_IFCHR, TypeBlock: unix.S_IFBLK, TypeFifo: unix.S_IFIFO}[e.Type]
	if e.Type != TypeFifo && p.o.NoDevices {
		p.left.Devices++
		return nil
	}
	if err := unix.Mknodat(p.fd, name, kind|0o600, int(unix.Mkdev(e.Major, e.Minor))); err != nil {
		return fmt.Errorf("make node: %w", err)
	}
	return p.settle(-1, name, e)
}

// settle gives a name its owner, then what a change of owners takes away, then its time.
func (p *placer) settle(fd int, name string, e *Entry) error {
	if p.o.NoOwners {
		if e.UID != 0 || e.GID != 0 {
			p.left.Owners++
		}
	} else if err := unix.Fchownat(p.fd, name, int(e.UID), int(e.GID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("change owner: %w", err)
	}
	if e.Type != TypeSymlink {
		var err error
		if fd >= 0 {
			err = unix.Fchmod(fd, e.Mode)
		} else {
			err = unix.Fchmodat(p.fd, name, e.Mode, 0) // no link: it was made here
		}
		if err != nil {
			return fmt.Errorf("change mode: %w", err)
		}
	}
	if fd >= 0 {
		if err := p.attributes(fd, e); err != nil {
			return err
		}
	}
	ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: e.MTime}}
	if err := unix.UtimesNanoAt(p.fd, name, ts, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set time: %w", err)
	}
	return nil
}

func (p *placer) attributes(fd int, e *Entry) error {
	for name, value := range e.Xattrs {
		err := unix.Fsetxattr(fd, name, []byte(value), 0)
		if errors.Is(err, unix.ENOTSUP) || p.o.NoOwners && errors.Is(err, unix.EPERM) {
			p.left.Attributes++
			continue
		}
		if err != nil {
			return fmt.Errorf("set attribute %s: %w", name, err)
		}
	}
	return nil
}

// finishDirs gives directories what a change of what is in them would take again, and what could keep it out: the
// innermost first.
func (p *placer) finishDirs(m *Manifest) error {
	for i := len(m.Entries) - 1; i >= 0; i-- {
		e := &m.Entries[i]
		if e.Type != TypeDir {
			continue
		}
		if err := p.finishDir(e); err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	return nil
}

func (p *placer) finishDir(e *Entry) error {
	p.leave()
	fd, err := openBeneathAs(p.dst, e.Path, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	q := *p
	q.fd = fd
	err = q.settle(fd, ".", e)
	p.left = q.left
	return err
}
