package cache

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A record is a small file with its own digest, over its place and its content: one line
//
//	rootctl-record 1 SHA256
//
// and then the content. One that is cut, flipped or was moved from elsewhere reads as absent.
const (
	recordMagic = "rootctl-record 1 "
	maxRecord   = 64 << 20
)

func recordSum(folder, name string, content []byte) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s/%s\x00", folder, name)
	h.Write(content)
	return fmt.Sprintf("%x", h.Sum(nil))
}

func (s *Store) writeRecord(folder, name string, content []byte) error {
	if len(content) > maxRecord {
		return fmt.Errorf("record of %d bytes", len(content))
	}
	head := recordMagic + recordSum(folder, name, content) + "\n"
	return s.write(s.path(folder, name), []byte(head), content)
}

// readRecord returns ErrNotFound for a record that is absent or damaged.
func (s *Store) readRecord(folder, name string) ([]byte, error) {
	b, err := readFile(s.path(folder, name), maxRecord+100)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	head, content, _ := strings.Cut(string(b), "\n")
	raw := []byte(content)
	if head != recordMagic+recordSum(folder, name, raw) {
		s.log.Warn("damaged record, taken as absent", "record", folder+"/"+name)
		return nil, ErrNotFound
	}
	return raw, nil
}

// openFile opens a file for reading, but not a fifo or device that somebody has put there: opening or reading it may
// never end.
func openFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		f.Close()
		return nil, errors.Join(fmt.Errorf("%s is no regular file", path), err)
	}
	return f, nil
}

// readFile reads a whole file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.Grow(int(min(st.Size(), limit)) + bytes.MinRead) // it grows no more if the size is true
	_, err = b.ReadFrom(io.LimitReader(f, limit+1))
	if err == nil && int64(b.Len()) > limit {
		err = fmt.Errorf("%s is over %d bytes", path, limit)
	}
	return b.Bytes(), err
}

// listDir returns the names in one of the cache's folders, sorted.
func (s *Store) listDir(folder string) ([]string, error) {
	names, err := s.dirNames(folder)
	slices.Sort(names)
	return names, err
}

// dirNames is listDir without the order.
func (s *Store) dirNames(folder string) ([]string, error) {
	d, err := os.Open(s.path(folder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}
