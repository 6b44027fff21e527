package upper

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache/intake"
	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// Merge makes what the container saw, with u: the root, whose tree is at parent, then its changes.
func (c *Changes) Merge(ctx context.Context, u *intake.Unpacker, parent string) error {
	err := layer(ctx, u, func(w io.Writer) error { return c.copy.Parent.WriteTar(ctx, w, parent) })
	if err != nil {
		return fmt.Errorf("copy the root: %w", err)
	}
	names := make([]intake.Removal, len(c.removed))
	for i, r := range c.removed {
		names[i] = intake.Removal{Path: r.path, Contents: r.contents}
	}
	if err := u.Remove(names); err != nil {
		return fmt.Errorf("remove what the copy has removed: %w", err)
	}
	if len(c.entries) == 0 {
		return nil
	}
	if err := layer(ctx, u, c.writeTar); err != nil {
		return fmt.Errorf("add what the copy has changed: %w", err)
	}
	return nil
}

// layer hands the tar that write makes to u. The error is the writer's if it has one of its own.
func layer(ctx context.Context, u *intake.Unpacker, write func(io.Writer) error) error {
	r, w := io.Pipe()
	stop := errors.New("stopped")
	wrote := make(chan error, 1)
	go func() {
		err := write(w)
		w.CloseWithError(err)
		wrote <- err
	}()
	err := u.Layer(ctx, r, false, true)
	r.CloseWithError(stop)
	if werr := <-wrote; werr != nil && !errors.Is(werr, stop) {
		return werr
	}
	return err
}

func (c *Changes) writeTar(out io.Writer) error {
	root, err := unix.Open(c.copy.Dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	buf := bufio.NewWriterSize(out, 128<<10)
	w := tar.NewWriter(buf)
	for i := range c.entries {
		if err := writeEntry(w, root, &c.entries[i]); err != nil {
			return fmt.Errorf("%s: %w", c.entries[i].Path, err)
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return buf.Flush()
}

var xattrName = strings.NewReplacer("%", "%25", "=", "%3D") // as GNU tar writes what would end the name

func writeEntry(w *tar.Writer, root int, e *snapshot.Entry) error {
	h := &tar.Header{Format: tar.FormatPAX, Name: "./" + e.Path, Mode: int64(e.Mode), Uid: int(e.UID), Gid: int(e.GID), ModTime: time.Unix(e.MTime, 0),
		Linkname: e.Link, Devmajor: int64(e.Major), Devminor: int64(e.Minor), PAXRecords: map[string]string{}}
	switch e.Type {
	case snapshot.TypeFile:
		h.Typeflag, h.Size = tar.TypeReg, e.Size
	case snapshot.TypeDir:
		h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
	case snapshot.TypeSymlink:
		h.Typeflag = tar.TypeSymlink
	case snapshot.TypeHardlink:
		h.Typeflag, h.Linkname = tar.TypeLink, "./"+e.Link
	case snapshot.TypeChar:
		h.Typeflag = tar.TypeChar
	case snapshot.TypeBlock:
		h.Typeflag = tar.TypeBlock
	case snapshot.TypeFifo:
		h.Typeflag = tar.TypeFifo
	}
	for k, v := range e.Xattrs {
		h.PAXRecords["SCHILY.xattr."+xattrName.Replace(k)] = v
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	if e.Type != snapshot.TypeFile {
		return nil
	}
	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV}
	fd, err := unix.Openat2(root, e.Path, &how)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), e.Path)
	defer f.Close()
	_, err = io.CopyN(w, f, e.Size)
	return err
}
