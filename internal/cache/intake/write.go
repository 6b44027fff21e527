package intake

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// file makes a file of what comes from r. A small one is left to a writer.
func (u *Unpacker) file(n *node, d *dirFD, base string, r io.Reader) error {
	e := &n.meta
	if u.size += e.Size; u.size > u.o.MaxSize || e.Size > u.o.MaxSize {
		return &LimitError{"bytes of files", u.o.MaxSize, "if you trust it, allow more with --max-size SIZE, and see that the disk has room"}
	}
	n.content = &content{meta: *e}
	u.canon.head(e, u.ordered)
	if e.Size > chunkSize {
		return u.bigFile(n.content, d, base, r)
	}
	b := newBuffer()
	if _, err := io.ReadFull(r, b.space[:e.Size]); err != nil {
		b.release()
		return cut(err)
	}
	b.n = int(e.Size)
	u.canon.content(b)
	u.canon.pad(e.Size)
	d.refs.Add(1)
	u.writers.do(&job{dir: d, base: base, buf: b, to: n.content})
	return nil
}

func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &FormatError{What: "the archive is cut off in it"}
	}
	return &FormatError{What: "its content cannot be read", Err: err}
}

// write makes the small file of a job.
func (u *Unpacker) write(j *job) error {
	fd, err := create(j.dir.fd, j.base)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	data := j.buf.bytes()
	if err := writeAll(fd, data); err != nil {
		return err
	}
	j.to.sum = snapshot.Sum(data)
	return u.finish(fd, j.dir.fd, j.base, &j.to.meta)
}

// bigFile copies a file chunk by chunk. Chunks of zeros become holes.
func (u *Unpacker) bigFile(to *content, d *dirFD, base string, r io.Reader) error {
	fd, err := create(d.fd, base)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	h := sha256.New()
	for at, size := int64(0), to.meta.Size; at < size; {
		if err := u.writers.failed(); err != nil { // also when the caller gives up
			return err
		}
		b := newBuffer()
		k, err := io.ReadFull(r, b.space[:min(chunkSize, size-at)])
		if err != nil {
			b.release()
			return cut(err)
		}
		b.n = k
		u.canon.content(b)
		data := b.bytes()
		if !allZero(data) {
			err = pwriteAll(fd, data, at)
		}
		h.Write(data)
		b.release()
		if err != nil {
			return err
		}
		at += int64(k)
	}
	if err := unix.Ftruncate(fd, to.meta.Size); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	u.canon.pad(to.meta.Size)
	to.sum = snapshot.Digest(hex.EncodeToString(h.Sum(nil)))
	return u.finish(fd, d.fd, base, &to.meta)
}

func create(dir int, base string) (int, error) {
	for {
		fd, err := unix.Openat(dir, base, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		b = b[n:]
	}
	return nil
}

func pwriteAll(fd int, b []byte, at int64) error {
	for len(b) > 0 {
		n, err := unix.Pwrite(fd, b, at)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		b, at = b[n:], at+int64(n)
	}
	return nil
}

var zeroChunk [chunkSize]byte

func allZero(b []byte) bool { return bytes.Equal(b, zeroChunk[:len(b)]) }

// finish gives an open file or directory what e says. Owner first, which takes setuid bits and capabilities away; the
// time last.
func (u *Unpacker) finish(fd, dir int, name string, e *snapshot.Entry) error {
	if err := u.chown(fd, "", e); err != nil {
		return err
	}
	lists, err := u.setXattrs(fd, e)
	if err != nil {
		return err
	}
	if err := unix.Fchmod(fd, e.Mode); err != nil {
		return fmt.Errorf("set mode: %w", err)
	}
	if lists {
		if err := u.asDisk(fd, e); err != nil {
			return err
		}
	}
	return setTime(dir, name, e.MTime)
}

// settle gives a symlink or fifo its owner, mode and time.
func (u *Unpacker) settle(dir int, name string, e *snapshot.Entry) error {
	if err := u.chown(dir, name, e); err != nil {
		return err
	}
	if e.Type == snapshot.TypeFifo {
		if err := unix.Fchmodat(dir, name, e.Mode, 0); err != nil { // it was made a moment ago, and nobody else is here
			return fmt.Errorf("set mode: %w", err)
		}
	}
	return setTime(dir, name, e.MTime)
}

func (u *Unpacker) chown(dir int, name string, e *snapshot.Entry) error {
	if u.o.DiskCannot || u.plain && e.UID == 0 && e.GID == 0 {
		return nil
	}
	var err error
	if name == "" {
		err = unix.Fchown(dir, int(e.UID), int(e.GID))
	} else {
		err = unix.Fchownat(dir, name, int(e.UID), int(e.GID), unix.AT_SYMLINK_NOFOLLOW)
	}
	if err == unix.EINVAL {
		return &ownerError{e.UID, e.GID}
	}
	if err != nil {
		return fmt.Errorf("set owner %d:%d: %w", e.UID, e.GID, err)
	}
	return nil
}

type ownerError struct{ uid, gid uint32 }

func (e *ownerError) Error() string {
	return fmt.Sprintf("its owner %d:%d is outside of your range of ids", e.uid, e.gid)
}
func (e *ownerError) Hint() string {
	return "import it as root, whose cache is another: sudo rootctl import ..."
}

// setXattrs sets e's attributes and reports whether access lists are among them.
func (u *Unpacker) setXattrs(fd int, e *snapshot.Entry) (lists bool, err error) {
	for _, name := range slices.Sorted(maps.Keys(e.Xattrs)) {
		err := unix.Fsetxattr(fd, name, []byte(e.Xattrs[name]), 0)
		if err != nil && !u.o.DiskCannot {
			return false, fmt.Errorf("set attribute %s: %w", name, err)
		}
		lists = lists || strings.HasPrefix(name, "system.posix_acl")
	}
	return lists && !u.o.DiskCannot, nil
}

// asDisk lets e say what the kernel made of its access lists: it drops one that says no more than the mode does, and the
// mode that is set afterwards, as GNU tar does, changes the others.
func (u *Unpacker) asDisk(fd int, e *snapshot.Entry) error {
	now, err := snapshot.ReadXattrs(fd)
	if err == nil && !maps.Equal(now, e.Xattrs) {
		u.spoiled.Store(true) // the digest that was made on the way has the old ones
		e.Xattrs = now
	}
	return err
}

func setTime(dir int, name string, sec int64) error {
	ts := []unix.Timespec{{Sec: sec}, {Sec: sec}}
	if err := unix.UtimesNanoAt(dir, name, ts, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set time: %w", err)
	}
	return nil
}
