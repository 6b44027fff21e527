package dpkg

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/rootctl/rootctl/internal/debootstrap/control"
	"github.com/rootctl/rootctl/internal/debootstrap/unpack"
)

// State is a package that is not "install ok installed".
type State struct{ Package, Status string }

// Unfinished returns the packages of the status file that are not installed,
// and how many are.
func (d *Database) Unfinished() (bad []State, installed int, err error) {
	s, err := d.read("status")
	if err != nil {
		return nil, 0, fmt.Errorf("read dpkg status: %w", err)
	}
	for p, err := range control.Paragraphs(s) {
		if err != nil {
			return nil, 0, fmt.Errorf("read dpkg status: %w", err)
		}
		name, st := control.Field(p, "Package"), control.Field(p, "Status")
		if st == "install ok installed" {
			installed++
			continue
		}
		bad = append(bad, State{name, st})
	}
	return bad, installed, nil
}

// Lists returns the paths of each package that is installed, directories among them, as its .list has them.
func (d *Database) Lists() (map[string][]string, error) {
	entries, err := d.t.ReadDir(AdminDir + "/info")
	if err != nil {
		return nil, fmt.Errorf("read dpkg's lists: %w", err)
	}
	out := map[string][]string{}
	for _, e := range entries {
		base, ok := strings.CutSuffix(e.Name, ".list")
		if !ok || e.IsDir {
			continue
		}
		text, err := d.read("info/" + e.Name)
		if err != nil {
			return nil, fmt.Errorf("read dpkg's lists: %w", err)
		}
		name, _, _ := strings.Cut(base, ":")
		for line := range strings.Lines(text) {
			if line = strings.TrimSuffix(line, "\n"); strings.HasPrefix(line, "/") {
				out[name] = append(out[name], line)
			}
		}
	}
	return out, nil
}

// Diversions returns where the files of package pkg go instead of the paths it
// ships: var/lib/dpkg/diversions, three lines an entry, ":" for a local one.
func (d *Database) Diversions() (func(pkg string) map[string]string, error) {
	s, err := d.read("diversions")
	if err != nil {
		return nil, fmt.Errorf("read diversions: %w", err)
	}
	f := strings.Split(strings.TrimSuffix(s, "\n"), "\n")
	if s == "" {
		f = nil
	}
	if len(f)%3 != 0 {
		return nil, fmt.Errorf("read diversions: %d lines are not threes", len(f))
	}
	for i := range f {
		if i%3 != 2 && (!strings.HasPrefix(f[i], "/") || path.Clean(f[i]) != f[i]) {
			return nil, fmt.Errorf("read diversions: line %d: %q is not a clean path", i+1, f[i])
		}
	}
	return func(pkg string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(f); i += 3 {
			if f[i+2] != pkg {
				m[f[i]] = f[i+1]
			}
		}
		return m
	}, nil
}

// Overrides returns the owners and modes that statoverride sets, by path. Names
// are looked up in ids, which should be the tree's own passwd and group.
func (d *Database) Overrides(ids *unpack.IDs) (map[string]unpack.Meta, error) {
	s, err := d.read("statoverride")
	if err != nil {
		return nil, fmt.Errorf("read statoverride: %w", err)
	}
	m := map[string]unpack.Meta{}
	for line := range strings.Lines(s) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if len(f) != 4 {
			return nil, fmt.Errorf("read statoverride: line %q", line)
		}
		mode, err := strconv.ParseUint(f[2], 8, 12)
		if err != nil {
			return nil, fmt.Errorf("read statoverride: mode %q: %w", f[2], err)
		}
		uid, err := lookUp(ids.Users, f[0])
		if err != nil {
			return nil, fmt.Errorf("read statoverride: %w", err)
		}
		gid, err := lookUp(ids.Groups, f[1])
		if err != nil {
			return nil, fmt.Errorf("read statoverride: %w", err)
		}
		m[f[3]] = unpack.Meta{Mode: uint32(mode), UID: uid, GID: gid}
	}
	return m, nil
}

func lookUp(ids map[string]int, name string) (int, error) {
	if n, ok := strings.CutPrefix(name, "#"); ok {
		id, err := strconv.ParseUint(n, 10, 31)
		return int(id), err
	}
	if id, ok := ids[name]; ok {
		return id, nil
	}
	return 0, fmt.Errorf("no user or group %q", name)
}
