package snapshot

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// Owners knows who owns the files of a tree that is being made where the disk cannot tell: by a user who has no id but
// their own. A file that it does not know belongs to 0:0. It may be used by many goroutines at once. The zero value is
// empty; a nil *Owners means that the disk tells.
type Owners struct {
	mu   sync.RWMutex
	of   map[string]pair
	attr map[string]map[string]string
	keys func(dir int, name string) (string, error) // nil: fileKey
}

type pair struct{ uid, gid uint32 }

// Set records the owner of a name in an open directory, or of the open file itself if name is empty.
func (o *Owners) Set(dir int, name string, uid, gid uint32) error {
	key, err := o.key(dir, name)
	if err != nil {
		return fmt.Errorf("record owner: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.of == nil {
		o.of = map[string]pair{}
	}
	o.of[key] = pair{uid, gid}
	return nil
}

// SetXattr records an extended attribute as Set does an owner.
func (o *Owners) SetXattr(dir int, name, attr string, value []byte) error {
	key, err := o.key(dir, name)
	if err != nil {
		return fmt.Errorf("record attribute: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.attr == nil {
		o.attr = map[string]map[string]string{}
	}
	if o.attr[key] == nil {
		o.attr[key] = map[string]string{}
	}
	o.attr[key][attr] = string(value)
	return nil
}

// xattrs adds what is recorded to the attributes that the disk has.
func (o *Owners) xattrs(dir int, name string, have map[string]string) map[string]string {
	o.mu.RLock()
	defer o.mu.RUnlock()
	if len(o.attr) == 0 {
		return have
	}
	key, err := o.key(dir, name)
	if err != nil {
		return have
	}
	for k, v := range o.attr[key] {
		if have == nil {
			have = map[string]string{}
		}
		have[k] = v
	}
	return have
}

// Of gives the recorded owner, 0:0 and false if there is none.
func (o *Owners) Of(dir int, name string) (uid, gid uint32, ok bool) {
	if o == nil {
		return 0, 0, false
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	if len(o.of) == 0 {
		return 0, 0, false
	}
	key, err := o.key(dir, name)
	if err != nil {
		return 0, 0, false // then nothing could be recorded either
	}
	p, ok := o.of[key]
	return p.uid, p.gid, ok
}

func (o *Owners) key(dir int, name string) (string, error) {
	if o.keys != nil {
		return o.keys(dir, name)
	}
	return fileKey(dir, name)
}

// fileKey tells a file from all others, also from a later one that gets its inode's number: by its handle, else by number
// and time of birth.
func fileKey(dir int, name string) (string, error) {
	flags := 0
	if name == "" {
		flags = unix.AT_EMPTY_PATH
	}
	if h, _, err := unix.NameToHandleAt(dir, name, flags); err == nil {
		return string(h.Bytes()), nil
	}
	return numberKey(dir, name)
}

func numberKey(dir int, name string) (string, error) {
	flags := unix.AT_SYMLINK_NOFOLLOW
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	var st unix.Statx_t
	if err := unix.Statx(dir, name, flags, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil {
		return "", err
	}
	return fmt.Sprint("#", st.Dev_major, st.Dev_minor, st.Ino, st.Btime.Sec, st.Btime.Nsec), nil
}
