package fetch

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"syscall"
)

// copyFile writes the file that rest, a URL behind "file:", names. It holds at most size bytes, or
// exactly that many.
func copyFile(rest string, from, size int64, exact bool, w io.Writer) error {
	path := rest
	if after, ok := strings.CutPrefix(rest, "//"); ok {
		slash := strings.IndexByte(after, '/')
		if slash < 0 || after[:slash] != "" && after[:slash] != "localhost" {
			return errors.New("a file URL names no other host")
		}
		path = after[slash:]
	}
	path, err := url.PathUnescape(path)
	if err != nil || !strings.HasPrefix(path, "/") {
		return errors.New("not a file URL")
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		return err
	case !st.Mode().IsRegular():
		return errors.New("not a regular file")
	case st.Size() > size || exact && st.Size() != size:
		return fmt.Errorf("%w: %d bytes, want %d", ErrSize, st.Size(), size)
	}
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return err
	}
	n, err := io.Copy(w, io.LimitReader(f, size-from))
	if err == nil && exact && n != size-from {
		err = fmt.Errorf("%w: it shrinks while being read", ErrSize)
	}
	return err
}
