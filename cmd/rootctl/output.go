package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/rootctl/rootctl/internal/cache"
)

// An output is a file on its way. A regular one is made beside its place, without a name where the file system can do
// that, and appears whole when it is finished; a pipe or device is written as it comes.
type output struct {
	path string // "-": standard output
	f    *os.File
	w    *bufio.Writer
	h    hash.Hash
	n    int64

	known string // the digest that it will have, "" if it has to be reckoned
	temp  string // name of the file until it is finished; "" if it has none, or is no regular one
	flat  bool   // no regular file
	stop  func() bool
	err   error      // what went wrong in writing
	owner *user.User // who writes it; nil: whoever calls
}

// createOutput begins to write path.
func (a *app) createOutput(ctx context.Context, path string) (*output, error) {
	return a.createOutputAs(ctx, path, nil)
}

// createOutputAs opens and names the file as a user.
func (a *app) createOutputAs(ctx context.Context, path string, owner *user.User) (*output, error) {
	o := &output{path: path, h: sha256.New(), owner: owner}
	err := as(owner, func() (err error) {
		if path == "-" {
			o.f, o.flat = a.stdout, true
		} else if st, e := os.Stat(path); e == nil && !st.Mode().IsRegular() {
			o.flat = true
			o.f, err = openSpecial(ctx, path, st)
		} else {
			err = o.create()
		}
		return err
	})
	if err != nil {
		return nil, cannotWrite(path, err)
	}
	if o.flat && term.IsTerminal(int(o.f.Fd())) {
		return nil, withHint(&flagError{errors.New("standard output is a terminal, and a tarball is not for reading")}, "name a file with -o FILE, or pipe it on")
	}
	if o.flat {
		o.stop = context.AfterFunc(ctx, func() { _ = o.f.SetWriteDeadline(time.Now()) }) // a file that cannot is no pipe
	}
	var w io.Writer = o.f
	if !o.flat {
		w = cache.NewEager(o.f)
	}
	o.w = bufio.NewWriterSize(w, 256<<10)
	return o, nil
}

// openSpecial opens what is there already and no regular file.
func openSpecial(ctx context.Context, path string, st fs.FileInfo) (*os.File, error) {
	if st.IsDir() {
		return nil, withHint(&flagError{fmt.Errorf("write %s: it is a folder", path)}, "give a file's name, or --format dir")
	}
	for {
		f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
		if !errors.Is(err, unix.ENXIO) || st.Mode()&fs.ModeNamedPipe == 0 {
			return f, err
		}
		select { // nobody reads the pipe yet
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// create makes the file that will be at o.path, or at the end of the links there.
func (o *output) create() error {
	if real, err := filepath.EvalSymlinks(o.path); err == nil {
		o.path = real
	}
	dir := filepath.Dir(o.path)
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o666)
	if err == nil {
		o.f = os.NewFile(uintptr(fd), o.path)
		return nil
	}
	if err != unix.EOPNOTSUPP && err != unix.EISDIR && err != unix.EINVAL { // what file systems without it say
		return &fs.PathError{Op: "create a file in", Path: dir, Err: err}
	}
	o.temp = o.tempName()
	o.f, err = os.OpenFile(o.temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	return err
}

func (o *output) tempName() string { return besides(o.path) }

// besides is a new hidden name in the folder of path.
func besides(path string) string {
	var b [8]byte
	rand.Read(b[:])
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".rootctl-"+hex.EncodeToString(b[:]))
}

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	if o.known == "" {
		o.h.Write(b[:n])
	}
	o.n += int64(n)
	if err != nil {
		o.err = cannotWrite(o.path, err)
		err = o.err
	}
	return n, err
}

// reset begins a regular file again.
func (o *output) reset() error {
	o.w.Reset(o.f)
	o.h, o.known = sha256.New(), ""
	o.n = 0
	_, err := o.f.Seek(0, io.SeekStart)
	if err == nil {
		err = o.f.Truncate(0)
	}
	return err
}

// digest is that of what was written, with "sha256:" before it.
func (o *output) digest() string {
	if o.known != "" {
		return o.known
	}
	return "sha256:" + hex.EncodeToString(o.h.Sum(nil))
}

// finish makes the file appear, whole and on the disk.
func (o *output) finish() error {
	err := o.w.Flush()
	if err == nil && !o.flat {
		err = as(o.owner, o.publish)
	}
	if err == nil && o.path != "-" {
		err = o.f.Close()
		o.f = nil
	}
	return cannotWrite(o.path, err)
}

func (o *output) publish() error {
	if err := o.f.Sync(); err != nil {
		return err
	}
	if err := o.appear(); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(o.path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// appear gives the file its name. Only one that takes another's place has a name of its own for a moment, which a kill
// in that moment leaves.
func (o *output) appear() error {
	if o.temp == "" {
		link := func(to string) error {
			return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", o.f.Fd()), unix.AT_FDCWD, to, unix.AT_SYMLINK_FOLLOW)
		}
		if err := link(o.path); err != unix.EEXIST {
			return err
		}
		temp := o.tempName()
		if err := link(temp); err != nil {
			return err
		}
		o.temp = temp
	}
	err := os.Rename(o.temp, o.path)
	if err == nil {
		o.temp = ""
	}
	return err
}

// close leaves nothing of a file that is not finished.
func (o *output) close() {
	if o.stop != nil {
		o.stop()
	}
	if o.temp != "" {
		_ = as(o.owner, func() error { return os.Remove(o.temp) })
	}
	if o.f != nil && o.path != "-" {
		o.f.Close()
	}
}

// spool is a file without a name, in the folder of path where it can be: room for what must be measured before it is
// written.
func spool(path string) (*os.File, error) {
	dir := os.TempDir()
	if st, err := os.Stat(path); path != "-" && (err != nil || st.Mode().IsRegular()) {
		dir = filepath.Dir(path)
	}
	if fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC|unix.O_EXCL, 0o600); err == nil {
		return os.NewFile(uintptr(fd), dir), nil
	}
	f, err := os.CreateTemp(dir, ".rootctl-")
	if err == nil {
		err = os.Remove(f.Name())
	}
	return f, err
}

func isFolder(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

// copyAll copies r to w and stops when ctx ends.
func copyAll(ctx context.Context, w io.Writer, r io.Reader) (int64, error) {
	buf := make([]byte, 256<<10)
	var total int64
	for ctx.Err() == nil {
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return total, err
			}
			total += int64(n)
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
	return total, ctx.Err()
}
