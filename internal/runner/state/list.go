package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxRecord bounds what is read of a record, in bytes.
const maxRecord = 16 << 20

// List gives all containers, oldest first. One whose command has not been executed yet is not there.
func (d *Dir) List() ([]*Container, error) {
	entries, err := os.ReadDir(d.Path)
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	list := []*Container{}
	for _, e := range entries {
		if !isID(e.Name()) {
			continue
		}
		c, err := d.read(e.Name())
		if errors.Is(err, fs.ErrNotExist) || damaged(err) {
			continue // it begins, has ended meanwhile, or is for Sweep: the others are listed
		}
		if err != nil {
			return nil, fmt.Errorf("list containers: %w", err)
		}
		if c.Running && c.Started.IsZero() && c.Name == "" {
			continue // it begins
		}
		list = append(list, c)
	}
	slices.SortStableFunc(list, func(a, b *Container) int { return a.Created.Compare(b.Created) })
	return list, nil
}

// damaged says that what should be a record is none, whatever is tried; other errors (too many open files) pass.
func damaged(err error) bool {
	for _, e := range [...]error{unix.ENOTDIR, unix.EISDIR, unix.ELOOP, unix.ENXIO, errNoRecord} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

var errNoRecord = errors.New("no record")

func isID(name string) bool { return len(name) == 12 && strings.Trim(name, "0123456789abcdef") == "" }

// read reads one record. Whether it runs is looked up first: what has ended then has its last word in the record.
func (d *Dir) read(id string) (*Container, error) {
	alive, err := d.alive(id)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(d.Path, id, "state.json"), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRecord))
	if err != nil {
		return nil, err
	}
	c, ok := plain(b)
	if !ok {
		c = &Container{}
		if err := json.Unmarshal(b, c); err != nil {
			return nil, fmt.Errorf("record %s: %w: %w", id, errNoRecord, err)
		}
	}
	c.ID, c.Running = id, alive
	return c, nil
}

// alive says whether the lock is held. The probe is a shared one, so that two of them do not see each other.
func (d *Dir) alive(id string) (bool, error) {
	f, err := os.OpenFile(filepath.Join(d.Path, id, "lock"), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if err == unix.EWOULDBLOCK {
		return true, nil
	}
	return false, err
}

// Await waits until the container is not alive, and gives its record as it is then: fs.ErrNotExist if that is gone.
func (d *Dir) Await(id string) (*Container, error) {
	f, err := os.OpenFile(filepath.Join(d.Path, id, "lock"), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_SH)
		if err == nil {
			return d.read(id)
		}
		if err != unix.EINTR {
			return nil, err
		}
	}
}

// Find finds a container by its name, its ID or the beginning of its ID.
func (d *Dir) Find(what string) (*Container, error) {
	list, err := d.List()
	if err != nil {
		return nil, err
	}
	var found []*Container
	for _, c := range list {
		if c.Name == what || c.ID == what {
			return c, nil
		}
		if what != "" && strings.HasPrefix(c.ID, what) {
			found = append(found, c)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	e := &NotFoundError{What: what, Many: len(found)}
	for _, c := range list {
		if near(c.Name, what) {
			e.Near = append(e.Near, c.Name)
		}
	}
	return nil, e
}

// ValidName says whether a container can have this name: Docker's set of characters.
func ValidName(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	return len(s) > 1 && len(s) <= 128 && strings.Trim(s, letters+"_.-") == "" && strings.Contains(letters, s[:1])
}

// near: one is the other with a letter more, less, changed or swapped with its neighbour.
func near(a, b string) bool {
	if a == "" || b == "" || max(len(a), len(b))-min(len(a), len(b)) > 1 {
		return false
	}
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	x, y := a[i:], b[i:]
	switch {
	case len(x) > len(y):
		return x[1:] == y
	case len(x) < len(y):
		return x == y[1:]
	case len(x) > 1 && x[0] == y[1] && x[1] == y[0] && x[2:] == y[2:]:
		return true
	}
	return x == "" || x[1:] == y[1:]
}

// NameError is a name that no container can have.
type NameError struct{ Name string }

func (e *NameError) Error() string { return fmt.Sprintf("no container can be called %q", e.Name) }

// Hint is the next step.
func (e *NameError) Hint() string {
	return "use 2 to 128 of a-z A-Z 0-9 _ . -, with a letter or digit first"
}

// TakenError is a name that another container has.
type TakenError struct {
	Name, ID string
	Running  bool
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("the name %s is taken by container %s", e.Name, e.ID)
}

// Hint is the next step.
func (e *TakenError) Hint() string {
	if e.Running {
		return "choose another, or remove that one: rootctl rm -f " + e.Name
	}
	return "choose another, or remove that one: rootctl rm " + e.Name
}

// NotFoundError says that no container, or more than one, has this name.
type NotFoundError struct {
	What string
	Many int // IDs that begin with it
	Near []string
}

func (e *NotFoundError) Error() string {
	if e.Many > 1 {
		return fmt.Sprintf("%d containers have an ID that begins with %s", e.Many, e.What)
	}
	return "there is no container " + e.What
}

// Hint is the next step.
func (e *NotFoundError) Hint() string {
	switch {
	case e.Many > 1:
		return "give more of the ID: rootctl ps -a"
	case len(e.Near) > 0:
		return "did you mean " + strings.Join(e.Near, ", ") + "?"
	}
	return "rootctl ps -a lists them"
}

// Remove takes away the record of a container that is not alive.
func (d *Dir) Remove(id string) error {
	guard, err := d.lock()
	if err != nil {
		return err
	}
	defer guard.Close()
	if alive, err := d.alive(id); alive || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fmt.Errorf("remove container %s: it is running", id))
	}
	return removeAll(filepath.Join(d.Path, id))
}
