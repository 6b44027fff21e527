package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// repairs is what the record holds.
type repairs struct {
	Changes []Change `json:"changes"` // oldest first
}

// Recorded lists what Apply has done, oldest first.
func (r Repair) Recorded() ([]Change, error) {
	b, err := os.ReadFile(r.recordPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what was changed: %w", err)
	}
	var all repairs
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("read what was changed: %s: %w", r.recordPath(), err)
	}
	return all.Changes, nil
}

// Undo takes everything back that the record holds, newest first, and tells of each what became of it. What somebody
// has changed since is left as it is, and forgotten.
func (r Repair) Undo(tell func(string)) error {
	return r.withRecord(func(done *[]Change, save func() error) error {
		var failed []error
		var left []Change
		for len(*done) > 0 {
			c := (*done)[len(*done)-1]
			*done = (*done)[:len(*done)-1]
			what, err := r.undo(c)
			if err != nil {
				failed, left = append(failed, err), append(left, c)
				continue
			}
			tell(what)
		}
		slices.Reverse(left)
		*done = left
		return errors.Join(append(failed, save())...)
	})
}

func (r Repair) undo(c Change) (string, error) {
	switch c.Kind {
	case changeFile:
		return r.undoFile(c)
	case changePackage:
		return r.undoPackages(c)
	case changeSubUID, changeSubGID:
		return r.undoRange(c)
	}
	return "", &SpecError{Problem: fmt.Sprintf("take back a change of unknown kind %q", c.Kind), Fix: "see " + r.recordPath() + ", which a newer rootctl may have written"}
}

func (r Repair) undoFile(c Change) (string, error) {
	b, err := os.ReadFile(r.at(c.File))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c.File + " is gone already", nil
	case err != nil:
		return "", fmt.Errorf("take back %s: %w", c.File, err)
	case string(b) != c.Data:
		return c.File + " was changed since: left as it is", nil
	}
	if r.find("apparmor_parser") != "" {
		// A profile that was never loaded cannot be taken out; the file goes all the same.
		if err := r.call("apparmor_parser", "-R", r.at(c.File)); err != nil && r.Output != nil {
			fmt.Fprintln(r.Output, err)
		}
	}
	if err := os.Remove(r.at(c.File)); err != nil {
		return "", fmt.Errorf("take back %s: %w", c.File, err)
	}
	return "removed " + c.File, nil
}

// undoPackages removes what was installed, unless something else has come to need it.
func (r Repair) undoPackages(c Change) (string, error) {
	have, err := r.packages()
	if err != nil {
		return "", err
	}
	var ours []string
	for _, p := range c.Packages {
		if _, there := slices.BinarySearch(have, p); there {
			ours = append(ours, p)
		}
	}
	names := strings.Join(c.Packages, " ")
	if len(ours) == 0 {
		return "packages are gone already: " + names, nil
	}
	out, err := r.command("apt-get", append([]string{"remove", "--simulate"}, ours...)...).Output()
	if err != nil {
		return "", fmt.Errorf("try the removal of %s: apt-get: %w", names, err)
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "Remv" && !slices.ContainsFunc(ours, func(p string) bool { return bareName(p) == bareName(f[1]) }) {
			return fmt.Sprintf("package %s needs %s by now: left as it is", f[1], names), nil
		}
	}
	if err := r.call("apt-get", append([]string{"remove", "--yes"}, ours...)...); err != nil {
		return "", err
	}
	return "removed the package " + strings.Join(ours, " "), nil
}

// bareName is a package's name without architecture.
func bareName(p string) string { name, _, _ := strings.Cut(p, ":"); return name }

func (r Repair) undoRange(c Change) (string, error) {
	b, err := os.ReadFile(r.at(c.File))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("take back the range of %s: %w", c.User, err)
	}
	if !slices.Contains(strings.Split(string(b), "\n"), c.Data) {
		return fmt.Sprintf("%s has no line %s any more: left as it is", c.File, c.Data), nil
	}
	argv := c.usermod("del")
	if err := r.call(argv[0], argv[1:]...); err != nil {
		return "", err
	}
	return fmt.Sprintf("removed %s from %s", c.Data, c.File), nil
}

func (r Repair) recordPath() string {
	if r.record != "" {
		return r.record
	}
	return recordFile
}

// withRecord holds the record's folder while f changes the host. Save makes the record what the list is; an empty one
// goes, and the folder with it.
func (r Repair) withRecord(f func(done *[]Change, save func() error) error) error {
	name := r.recordPath()
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("remember what is changed: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("remember what is changed: %w", err)
	}
	defer d.Close()
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("remember what is changed: lock %s: %w", dir, err)
	}
	done, err := r.Recorded()
	if err != nil {
		return err
	}
	save := func() error {
		if err := writeRecord(d, name, repairs{done}); err != nil {
			return fmt.Errorf("remember what is changed: %w", err)
		}
		return nil
	}
	err = f(&done, save)
	if len(done) == 0 {
		_ = os.Remove(name)
		_ = os.Remove(dir) // unless there is something else in it
	}
	return err
}

func writeRecord(dir *os.File, name string, all repairs) error {
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	temp := name + ".new"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return errors.Join(os.Rename(temp, name), dir.Sync())
}
