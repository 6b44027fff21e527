// Package state keeps a record of every container of a user: a folder each, without a daemon.
//
//	DIR/lock             held for a moment by whoever makes or collects records
//	DIR/<ID>/lock        flock held by the container's monitor and keeper: it is alive
//	DIR/<ID>/state.json  the Container; appears by rename once the command has been executed
//	DIR/<ID>/log         output of a detached container
//	DIR/<ID>/grace       seconds from a stop signal to KILL, as the last rootctl stop had them
//
// Whatever kills the monitor, the kernel lets its lock go; what it left is then collected by the next one that looks.
package state

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/runner"
)

// Container is the record of one container, as plain data.
type Container struct {
	ID       string    `json:"id"`
	Name     string    `json:"name,omitempty"`
	Root     string    `json:"root"` // digest
	RootName string    `json:"root_name"`
	Created  time.Time `json:"created"`
	Started  time.Time `json:"started,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`

	PID        int    `json:"pid,omitempty"`        // of its init, on the host
	StartTime  uint64 `json:"start_time,omitempty"` // clock ticks since boot, field 22 of /proc/PID/stat
	PidfdInode uint64 `json:"pidfd_inode,omitempty"`
	BootID     string `json:"boot_id,omitempty"`

	Monitor      int    `json:"monitor"` // the host process
	MonitorStart uint64 `json:"monitor_start,omitempty"`
	Detached     bool   `json:"detached,omitempty"`
	Keep         bool   `json:"keep,omitempty"` // record and copy stay until they are removed

	Cache   string          `json:"cache,omitempty"`   // its folder
	Copy    string          `json:"copy,omitempty"`    // scratch folder with u and w; "" for one in memory
	Cgroups []string        `json:"cgroups,omitempty"` // of the container, if it has limits
	Net     json.RawMessage `json:"net,omitempty"`     // what its network needs to know
	Spec    runner.Spec     `json:"spec"`
	Status  *runner.Status  `json:"status,omitempty"` // nil until it has ended, and for one whose monitor was killed

	// Running says that the monitor's lock was held when the record was read.
	Running bool `json:"-"`
}

// Dir is the folder of all containers of one user.
type Dir struct {
	Path     string
	patience time.Duration // with the lock of all, lockPatience if 0
}

// Open opens the folder of records, and makes it. It must belong to the caller and be closed to all others.
func Open(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("open records of containers: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return nil, fmt.Errorf("open records of containers: %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return nil, fmt.Errorf("open records of containers: %s is not a folder of yours that nobody else can write to", path)
	}
	return &Dir{Path: path}, nil
}

// Handle is the record of a container under way. Its lock says that the container is alive.
type Handle struct {
	*Container
	Path string
	lock *os.File
}

// Create makes the record's folder and locks it; a Container without an ID gets one. With a name the record is
// saved at once, for nobody else may take that.
func (d *Dir) Create(c *Container) (*Handle, error) {
	guard, err := d.lock()
	if err != nil {
		return nil, err
	}
	defer guard.Close()
	if c.Name != "" {
		if err := d.free(c.Name); err != nil {
			return nil, err
		}
	}
	for c.ID == "" {
		if c.ID, err = newID(); err != nil {
			return nil, err
		}
		if err := os.Mkdir(filepath.Join(d.Path, c.ID), 0o700); errors.Is(err, fs.ErrExist) {
			c.ID = ""
		} else if err != nil {
			return nil, &SaveError{c.ID, err}
		}
	}
	h := &Handle{Container: c, Path: filepath.Join(d.Path, c.ID)}
	if h.lock, err = os.OpenFile(filepath.Join(h.Path, "lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600); err == nil {
		err = unix.Flock(int(h.lock.Fd()), unix.LOCK_EX)
	}
	if err == nil && c.Name != "" {
		err = h.Save()
	}
	if err != nil {
		if saved := (*SaveError)(nil); !errors.As(err, &saved) {
			err = &SaveError{h.ID, err}
		}
		return nil, errors.Join(err, h.Remove())
	}
	return h, nil
}

// Adopt makes a record anew of a container that has ended, whose own has gone. It gets an ID if it has none, and goes
// without a name that another has by now.
func (d *Dir) Adopt(c *Container) (path string, err error) {
	if !isID(c.ID) {
		c.ID = ""
	}
	if c.BootID != BootID() {
		c.Cgroups, c.PID, c.Monitor = nil, 0, 0 // what has their names now is something else
	}
	guard, err := d.lock()
	if err != nil {
		return "", err
	}
	defer guard.Close()
	if c.Name != "" && d.free(c.Name) != nil {
		c.Name = ""
	}
	h := &Handle{Container: c}
	if c.ID == "" {
		if c.ID, err = newID(); err != nil {
			return "", err
		}
	}
	h.Path = filepath.Join(d.Path, c.ID)
	if err := os.Mkdir(h.Path, 0o700); err != nil {
		return "", fmt.Errorf("record container: %w", err)
	}
	err = os.WriteFile(filepath.Join(h.Path, "lock"), nil, 0o600)
	if err == nil {
		err = h.Save()
	}
	if err != nil {
		return "", errors.Join(err, removeAll(h.Path))
	}
	return h.Path, nil
}

func newID() (string, error) {
	b := make([]byte, 6)
	if _, err := unix.Getrandom(b, 0); err != nil { // crypto/rand needs a tenth of a millisecond for its first bytes
		return "", fmt.Errorf("record container: %w", err)
	}
	return hex.EncodeToString(b), nil
}

// free refuses a name that another container has, or an ID begins with.
func (d *Dir) free(name string) error {
	if !ValidName(name) {
		return &NameError{Name: name}
	}
	list, err := d.List()
	if err != nil {
		return err
	}
	for _, c := range list {
		if c.Name == name || c.ID == name {
			return &TakenError{Name: name, ID: c.ID, Running: c.Running}
		}
	}
	return nil
}

// lock keeps others from making and collecting records for a moment.
func (d *Dir) lock() (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(d.Path, "lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock records of containers: %w", err)
	}
	// Not a call that waits: a holder that is stopped would hang every other, signals included.
	patience := cmp.Or(d.patience, lockPatience)
	for end := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return f, nil
		case err == unix.EWOULDBLOCK && time.Now().Before(end), err == unix.EINTR:
			continue
		case err == unix.EWOULDBLOCK:
			err = fmt.Errorf("another process has held %s for %v", f.Name(), patience)
		}
		f.Close()
		return nil, fmt.Errorf("lock records of containers: %w", err)
	}
}

// lockPatience is long beside the moment that the lock is held for, also on a busy machine.
const lockPatience = 10 * time.Second

// LockFile says that the container is alive to whom it is handed on, its keeper.
func (h *Handle) LockFile() *os.File { return h.lock }

// Save writes the record; readers see the old one or the new one.
func (h *Handle) Save() error {
	b, err := json.Marshal(h.Container)
	if err == nil {
		err = replace(filepath.Join(h.Path, "state.json"), b)
	}
	if err != nil {
		return &SaveError{h.ID, err}
	}
	return nil
}

// SaveError says that a container's record could not be written.
type SaveError struct {
	ID  string
	Err error
}

func (e *SaveError) Error() string { return fmt.Sprintf("record container %s: %v", e.ID, e.Err) }

func (e *SaveError) Unwrap() error { return e.Err }

// replace gives a file its contents at once. They need not survive a crash of the machine: no container does.
func replace(path string, b []byte) error {
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	// Renaming one file over another has ext4 write the new one to the disk at once. An exchange does not, and here
	// nothing has to survive a crash of the machine.
	if unix.Renameat2(unix.AT_FDCWD, path+".new", unix.AT_FDCWD, path, unix.RENAME_EXCHANGE) == nil {
		return os.Remove(path + ".new")
	}
	return os.Rename(path+".new", path)
}

// Close lets the lock go; the record stays.
func (h *Handle) Close() { h.lock.Close() }

// removeAll removes a record. The files it usually has go by their names, which takes no file descriptor: a process
// that has none left leaves nothing. os.RemoveAll does the rest, and fails when something in path goes meanwhile: a
// sweep may be at the same record.
func removeAll(path string) error {
	for _, name := range [...]string{"state.json", "log", "grace", "lock"} {
		_ = unix.Unlink(filepath.Join(path, name))
	}
	if err := unix.Rmdir(path); err == nil || err == unix.ENOENT {
		return nil
	}
	if err := os.RemoveAll(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(path)
}

// Remove takes the record away and lets the lock go.
func (h *Handle) Remove() error {
	err := removeAll(h.Path)
	if h.lock != nil {
		h.lock.Close()
	}
	return err
}
