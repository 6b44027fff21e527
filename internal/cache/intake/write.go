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

// file has a writer make a file of what comes from r.
func (u *Unpacker) file(n *node, d *dirFD, base string, r io.Reader) error {
	e := &n.meta
	if u.size += e.Size; u.size > u.o.MaxSize || e.Size > u.o.MaxSize {
		return &LimitError{"bytes of files", u.o.MaxSize, "if you trust it, allow more with --max-size SIZE, and see that the disk has room"}
	}
	n.content = &content{meta: *e}
	u.canon.head(e, u.ordered)
	f := newFile{dir: d, base: base, to: n.content}
	if e.Size > chunkSize {
		return u.bigFile(f, r)
	}
	j := u.writers.room(e.Size)
	f.at = j.buf.n
	data := j.buf.space[f.at : f.at+int(e.Size)]
	if _, err := io.ReadFull(r, data); err != nil {
		return cut(err)
	}
	j.buf.n += len(data)
	u.canon.content(j.buf, data)
	u.canon.pad(e.Size)
	d.refs.Add(1)
	j.files = append(j.files, f)
	return nil
}

// bigFile hands a file over part by part. Its writer takes all parts, even if it cannot write them.
func (u *Unpacker) bigFile(f newFile, r io.Reader) error {
	size := f.to.meta.Size
	j := &job{files: []newFile{f}, parts: make(chan *buffer, ahead)}
	defer close(j.parts)
	f.dir.refs.Add(1)
	u.writers.do(j)
	for left := size; left > 0; {
		if err := u.writers.failed(); err != nil { // also when the caller gives up
			return err
		}
		b := newBuffer()
		k, err := io.ReadFull(r, b.space[:min(chunkSize, left)])
		if err != nil {
			b.release()
			return cut(err)
		}
		b.n = k
		u.canon.content(b, b.bytes())
		j.parts <- b
		left -= int64(k)
	}
	u.canon.pad(size)
	return nil
}

func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &FormatError{What: "the archive is cut off in it"}
	}
	return &FormatError{What: "its content cannot be read", Err: err}
}

// write makes a small file.
func (u *Unpacker) write(f *newFile, data []byte) error {
	fd, err := u.create(f)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := writeAll(fd, data); err != nil {
		return err
	}
	u.writers.written(len(data))
	f.to.sum = snapshot.Sum(data)
	return u.finishFile(fd, f)
}

// writeBig makes a file of its parts. Those of zeros become holes.
func (u *Unpacker) writeBig(f *newFile, parts <-chan *buffer) error {
	fd, err := u.create(f)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	h := sha256.New()
	at, hole := int64(0), false
	for b := range parts {
		data := b.bytes()
		if hole = allZero(data); !hole {
			err = pwriteAll(fd, data, at)
		}
		h.Write(data)
		at += int64(len(data))
		u.writers.written(len(data))
		b.release()
		if err != nil {
			return err
		}
	}
	if at < f.to.meta.Size {
		return nil // the reader has the error
	}
	if hole {
		u.holes.Store(true)
		if err := unix.Ftruncate(fd, at); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	f.to.sum = snapshot.Digest(hex.EncodeToString(h.Sum(nil)))
	return u.finishFile(fd, f)
}

// create makes an empty file, with its mode if nothing that may change it comes later.
func (u *Unpacker) create(f *newFile) (int, error) {
	mode := uint32(0o600)
	if u.bornRight(&f.to.meta) {
		mode = f.to.meta.Mode
	}
	for {
		fd, err := unix.Openat(f.dir.fd, f.base, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// bornRight tells of a file that it gets its mode as it is made: nothing masks it, and no attribute is set later, which may
// need rights that the mode does not give, or change it.
func (u *Unpacker) bornRight(e *snapshot.Entry) bool {
	return e.Mode&^0o777 == 0 && e.Mode&u.masked == 0 && len(e.Xattrs) == 0
}

// masked tells which bits of their modes new files in the folder fd do not get, by the umask or a default access list.
func masked(fd int) uint32 {
	const all = 0o777
	f, err := unix.Openat(fd, ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, all)
	if err != nil {
		return all // this file system cannot tell
	}
	defer unix.Close(f)
	var st unix.Stat_t
	if err := unix.Fstat(f, &st); err != nil {
		return all
	}
	return all &^ (st.Mode & all)
}

// finishFile gives a new file what its entry says and it does not have yet.
func (u *Unpacker) finishFile(fd int, f *newFile) error {
	e := &f.to.meta
	if !u.bornRight(e) {
		return u.finish(fd, f.dir.fd, f.base, e)
	}
	if err := u.chown(fd, "", e); err != nil {
		return err
	}
	return setTime(f.dir.fd, f.base, e.MTime)
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
