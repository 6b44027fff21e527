package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// hierarchy is a tree of control groups as this process sees it.
type hierarchy struct {
	v2          bool
	controllers []string // of version 1
	top         string   // where it is mounted
	own         string   // folder of this process's group
}

// hierarchies reads /proc/self/cgroup and /proc/self/mountinfo (cgroups(7), proc_pid_mountinfo(5)).
func hierarchies(cgroup, mountinfo string) []hierarchy {
	paths := map[string]string{} // by controllers as the kernel lists them, "" for version 2
	for line := range strings.Lines(cgroup) {
		if f := strings.SplitN(strings.TrimSpace(line), ":", 3); len(f) == 3 {
			for c := range strings.SplitSeq(f[1], ",") {
				paths[c] = f[2]
			}
		}
	}
	var list []hierarchy
	for line := range strings.Lines(mountinfo) {
		mount, kind, ok := strings.Cut(line, " - ")
		m, k := strings.Fields(mount), strings.Fields(kind)
		if !ok || len(m) < 6 || len(k) < 3 || strings.Contains(m[4], `\`) {
			continue
		}
		h := hierarchy{v2: k[0] == "cgroup2", top: m[4], own: m[4]}
		key := ""
		switch {
		case h.v2:
		case k[0] == "cgroup":
			h.controllers = strings.Split(k[2], ",")
			i := slices.IndexFunc(h.controllers, func(c string) bool { return paths[c] != "" })
			if i < 0 {
				continue
			}
			key = h.controllers[i]
		default:
			continue
		}
		// A mount may show a part of the tree only. A group outside of that, or of this namespace, begins with /.. .
		if rel, below := strings.CutPrefix(paths[key], strings.TrimSuffix(m[3], "/")); below && !strings.HasPrefix(paths[key], "/..") {
			h.own = path.Join(h.top, rel)
		}
		list = append(list, h)
	}
	return list
}

// groupFiles are what control groups are made by; the tests' own stands in for a kernel that this machine has not.
type groupFiles interface {
	mkdir(dir string) error
	write(file, value string) error
}

type kernelGroups struct{}

func (kernelGroups) mkdir(dir string) error { return unix.Mkdir(dir, 0o755) }

func (kernelGroups) write(file, value string) error {
	if err := writeProc(file, value); err != nil {
		return fmt.Errorf("write %s to %s: %w", value, file, err)
	}
	return nil
}

// parentOf finds the folder of version 2 to make a group with these controllers in: the nearest one above this process
// that may be written to and hands them on. One that holds processes cannot (but the root), so that it is the one above
// as a rule.
func (h hierarchy) parentOf(k groupFiles, controllers []string) (string, error) {
	refused := error(unix.ENODEV)
	for dir := h.own; ; dir = path.Dir(dir) {
		if err := handOn(k, dir, controllers); err == nil {
			return dir, nil
		} else if !errors.Is(err, unix.ENODEV) || dir == h.own {
			refused = err
		}
		if dir == h.top || len(dir) <= len(h.top) {
			return "", refused
		}
	}
}

// handOn makes the controllers those of a folder's children. ENODEV says that it has them not.
func handOn(k groupFiles, dir string, controllers []string) error {
	have, err := words(path.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	given, err := words(path.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return err
	}
	for _, c := range controllers {
		if !slices.Contains(have, c) {
			return unix.ENODEV
		}
	}
	if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return err
	}
	// The move of a process needs the right to write to what its old and its new group have in common.
	if err := unix.Faccessat(unix.AT_FDCWD, path.Join(dir, "cgroup.procs"), unix.W_OK, unix.AT_EACCESS); err != nil {
		return err
	}
	for _, c := range controllers {
		if slices.Contains(given, c) {
			continue
		}
		if err := k.write(path.Join(dir, "cgroup.subtree_control"), "+"+c); err != nil {
			return err
		}
	}
	return nil
}

func words(file string) ([]string, error) {
	b, err := os.ReadFile(file)
	return strings.Fields(string(b)), err
}

// groupPrefix begins the names of groups that rootctl makes.
const groupPrefix = "rootctl-"

// sweepGroups removes the groups in a folder that nobody holds and no process is in.
func sweepGroups(parent string) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), groupPrefix) || !e.IsDir() {
			continue
		}
		dir := filepath.Join(parent, e.Name())
		f, err := os.Open(dir)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = unix.Rmdir(dir) // EBUSY: its keeper is still at it
		}
		f.Close()
	}
}

// isGroup says whether a path can be one of ours, for paths that come from a record.
func isGroup(dir string) bool {
	return filepath.IsAbs(dir) && filepath.Clean(dir) == dir && strings.HasPrefix(filepath.Base(dir), groupPrefix)
}

func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) }
