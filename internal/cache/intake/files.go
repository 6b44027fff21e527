package intake

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Files are the files of an image, by path.
type Files interface {
	// Open returns a regular file and its size, or an error that is fs.ErrNotExist. Two may be open at once.
	Open(name string) (io.ReadCloser, int64, error)
}

// A Folder is an image layout in a folder. No symlink in it is followed.
type Folder struct{ root *os.File }

// OpenFolder opens the folder dir.
func OpenFolder(dir string) (*Folder, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	return &Folder{f}, nil
}

func (d *Folder) Close() { d.root.Close() }

func (d *Folder) Open(name string) (io.ReadCloser, int64, error) {
	fd, err := openBeneath(int(d.root.Fd()), name, unix.O_RDONLY|unix.O_NONBLOCK)
	if err == unix.ELOOP || err == unix.EXDEV {
		return nil, 0, &FormatError{What: quoted(name) + " is a symbolic link, or leads out of the folder", Next: "copy the image: skopeo copy oci:FOLDER oci:OTHER"}
	}
	if err != nil {
		return nil, 0, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", name)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, st.Size(), nil
}

// An Archive is an image in a plain tar that can be read anywhere.
type Archive struct {
	r     io.ReaderAt
	files map[string]extent
	links map[string]string // docker save gives a layer that two images share a second name
}

type extent struct{ at, size int64 }

const maxImageFiles = 100_000

// OpenArchive finds the files of the tar r of size bytes.
func OpenArchive(r io.ReaderAt, size int64) (*Archive, error) {
	a := &Archive{r: r, files: map[string]extent{}, links: map[string]string{}}
	in := io.NewSectionReader(r, 0, size)
	t := tar.NewReader(in)
	for n := 0; ; n++ {
		h, err := t.Next()
		if err == io.EOF {
			return a, nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return nil, readError(err, true)
		}
		if n == maxImageFiles {
			return nil, &LimitError{"files of an image", maxImageFiles, "no image has as many: look at what the archive holds"}
		}
		name, err := clean(h.Name)
		if err != nil {
			return nil, memberError(h.Name, err)
		}
		at, err := in.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		switch h.Typeflag {
		case tar.TypeReg:
			if isSparse(h) {
				return nil, memberError(h.Name, refuse("it is a sparse file, where an image has blobs"))
			}
			a.files[name] = extent{at, h.Size}
		case tar.TypeSymlink, tar.TypeLink:
			a.links[name] = h.Linkname
			if h.Typeflag == tar.TypeSymlink {
				a.links[name] = path.Join(path.Dir(name), h.Linkname)
			}
		}
	}
}

func isSparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

func (a *Archive) Open(name string) (io.ReadCloser, int64, error) {
	x, ok := a.files[name]
	if !ok {
		x, ok = a.files[path.Clean(a.links[name])]
	}
	if !ok {
		return nil, 0, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return io.NopCloser(io.NewSectionReader(a.r, x.at, x.size)), x.size, nil
}

// imageFile is compiled when it is first asked: no other verb than import is to pay for it.
var imageFile = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(oci-layout|index\.json|manifest\.json|repositories|blobs(/.*)?|[0-9a-f]{64}([./].*)?)$`)
})

// IsImage tells by the first bytes of a plain tar, which may be cut off anywhere, whether it is an image and not a root:
// by the name of its first file or directory.
func IsImage(head []byte) bool {
	t := tar.NewReader(bytes.NewReader(head))
	for range 8 {
		h, err := t.Next()
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return false
		}
		if name := path.Clean(h.Name); name != "." && h.Typeflag != tar.TypeXGlobalHeader {
			return imageFile().MatchString(name)
		}
	}
	return false
}
