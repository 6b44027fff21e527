package intake

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// Layer adds the uncompressed tar r. With whiteouts it is a layer of an image: names that begin with .wh. take away what
// earlier layers have made. The caller sees to it that r as a whole is what it should be; an end that is missing is an
// error, unless the caller knows it to be whole.
func (u *Unpacker) Layer(ctx context.Context, r io.Reader, whiteouts, whole bool) error {
	u.layer++
	src := startSource(&stoppable{ctx, r})
	defer src.stop()
	t := tar.NewReader(src)
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := u.writers.failed(); err != nil {
			return err
		}
		h, err := t.Next()
		if err == io.EOF {
			return u.end(src, n, whole)
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) { // clean judges the path
			return readError(err, n > 0 || src.tar || src.failed() != nil)
		}
		if err := u.member(h, t, whiteouts); err != nil {
			if cause := src.failed(); cause != nil {
				return readError(cause, true)
			}
			return memberError(h.Name, err)
		}
	}
}

func memberError(name string, err error) error {
	var already *MemberError
	if errors.As(err, &already) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &MemberError{name, err}
}

// stoppable reads until ctx ends.
type stoppable struct {
	ctx context.Context
	r   io.Reader
}

func (s *stoppable) Read(b []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.Read(b)
}

// maxPadding is what may follow an archive's last entry; tar fills records of 10 kB, tapes a few MB.
const maxPadding = 64 << 20

// end looks at what follows the last entry: two blocks of zeros, and nothing but zeros.
func (u *Unpacker) end(src *source, n int, whole bool) error {
	if src.ended && !whole {
		if n == 0 {
			return &FormatError{What: "it is empty", Next: "give a tar archive or an image"}
		}
		return &FormatError{What: "it is cut off: the archive's end is missing"}
	}
	zeros, size := true, 0
	buf := make([]byte, 64<<10)
	for {
		k, err := src.Read(buf)
		zeros = zeros && allZero(buf[:k])
		if size += k; size > maxPadding && zeros {
			return &LimitError{"bytes of padding", maxPadding, "no archive has as many: look at what it holds"}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return readError(err, n > 0 || src.tar)
		}
	}
	if !zeros {
		return &FormatError{What: "something follows the archive's end", Next: "if it is two archives joined, unpack them and make one"}
	}
	return nil
}

func readError(err error, isTar bool) error {
	var limit *LimitError
	var format *FormatError
	switch {
	case errors.As(err, &limit), errors.As(err, &format), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case !isTar && (errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF)): // less than a header is no tar either
		return &FormatError{What: "it is no tar archive, nor one compressed by zstd, gzip, xz or bzip2, nor an image",
			Next: "make one with: tar -C ROOT --numeric-owner --xattrs --xattrs-include='*' -c . | zstd"}
	case errors.Is(err, tar.ErrHeader):
		return &FormatError{What: "an entry's header is damaged", Err: err}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &FormatError{What: "it is cut off", Err: err}
	}
	return &FormatError{What: "it cannot be read to its end", Err: err}
}

func (u *Unpacker) member(h *tar.Header, r io.Reader, whiteouts bool) error {
	e, ok, err := u.judge(h)
	if err != nil || !ok {
		return err
	}
	memory := int64(len(e.Path) + len(e.Link))
	for k, v := range e.Xattrs {
		memory += int64(len(k) + len(v))
	}
	if err := u.count(memory); err != nil {
		return err
	}
	if whiteouts {
		if done, err := u.mark(e.Path); done || err != nil {
			return err
		}
	}
	if e.Path == "." {
		u.order(&e)
		u.describe(u.root, &e)
		u.canon.head(&e, u.ordered)
		return nil
	}
	return u.make(&e, r)
}

// mark does what a name of a layer means that speaks of other names.
func (u *Unpacker) mark(path string) (done bool, err error) {
	dir, base := split(path)
	target, ok := strings.CutPrefix(base, ".wh.")
	if !ok {
		return false, nil
	}
	n := u.lookup(dir)
	switch {
	case n == nil || target != ".wh..opq" && strings.HasPrefix(target, ".wh."): // aufs's own files
		return true, nil
	case !n.isDir():
		return true, refuse("%s is %s, and nothing can lie below it", quoted(dir), kind(n.meta.Type))
	case target == ".wh..opq":
		return true, u.hide(n, dir)
	case target == "" || target == "." || target == "..":
		return true, refuse("it is a mark of a removal, and names nothing")
	}
	return true, u.whiteout(n, join(dir, target), target)
}

// order notes whether entries still come in canonical order.
func (u *Unpacker) order(e *snapshot.Entry) {
	if u.last == "" && e.Path != "." || u.last != "" && snapshot.Compare(u.last, e.Path) >= 0 {
		u.ordered = false
	}
	u.last = e.Path
}

// describe lets an entry speak of a directory that is there.
func (u *Unpacker) describe(n *node, e *snapshot.Entry) {
	n.meta, n.layer, n.implied = *e, u.layer, false
}

func (u *Unpacker) make(e *snapshot.Entry, r io.Reader) error {
	dir, base := split(e.Path)
	in, err := u.parent(e.Path)
	if err != nil {
		return err
	}
	u.order(e)
	if old := in.children[base]; old != nil && old.isDir() && e.Type == snapshot.TypeDir {
		u.ordered = false
		u.describe(old, e)
		return nil
	}
	var linked *node
	if e.Type == snapshot.TypeHardlink {
		if linked, err = u.target(e); err != nil || linked == in.children[base] {
			return err // a link of a name to itself changes nothing
		}
	}
	if err := u.makeRoom(in, e.Path, base); err != nil {
		return err
	}
	d, err := u.dirs.get(dir)
	if err != nil {
		return err
	}
	defer d.release()
	n := &node{meta: *e, layer: u.layer}
	switch e.Type {
	case snapshot.TypeFile:
		err = u.file(n, d, base, r)
	case snapshot.TypeHardlink:
		err = u.link(n, linked, d, base)
	case snapshot.TypeDir:
		n.children = map[string]*node{}
		err = unix.Mkdirat(d.fd, base, 0o700)
	case snapshot.TypeSymlink:
		if err = unix.Symlinkat(e.Link, d.fd, base); err == nil {
			err = u.settle(d.fd, base, e)
		}
	case snapshot.TypeFifo:
		if err = unix.Mkfifoat(d.fd, base, 0o600); err == nil {
			err = u.settle(d.fd, base, e)
		}
	}
	if err != nil {
		return err
	}
	in.children[base] = n
	if e.Type == snapshot.TypeFile {
		return nil // its head went before its content
	}
	u.canon.head(&n.meta, u.ordered)
	return nil
}

// target is the earlier name that a hardlink leads to: a file, or a symlink, of which a second one is made.
func (u *Unpacker) target(e *snapshot.Entry) (*node, error) {
	n := u.lookup(e.Link)
	if n == nil || n.content == nil && n.meta.Type != snapshot.TypeSymlink {
		return nil, refuse("it is a hardlink to %s, which is no earlier file of the archive", quoted(e.Link))
	}
	return n, nil
}

func (u *Unpacker) link(n, to *node, d *dirFD, base string) error {
	if to.content == nil {
		path := n.meta.Path
		n.meta = to.meta
		n.meta.Path = path
		if err := unix.Symlinkat(n.meta.Link, d.fd, base); err != nil {
			return err
		}
		return u.settle(d.fd, base, &n.meta)
	}
	if err := u.writers.wait(); err != nil { // for the file to be there
		return err
	}
	from, name := split(to.meta.Path)
	f, err := u.dirs.get(from)
	if err != nil {
		return err
	}
	defer f.release()
	n.content = to.content
	meta := to.content.meta
	n.meta = snapshot.Entry{Path: n.meta.Path, Type: snapshot.TypeHardlink, Mode: meta.Mode, UID: meta.UID, GID: meta.GID, MTime: meta.MTime,
		Link: to.content.meta.Path}
	return unix.Linkat(f.fd, name, d.fd, base, 0)
}
