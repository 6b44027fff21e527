package runner

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Limits are what a container may use at most; 0 is no limit. They are kept by control groups of version 2 or 1.
type Limits struct {
	Memory int64   `json:"memory,omitempty"` // bytes, with what it writes to file systems in memory; no swap beyond it
	CPUs   float64 `json:"cpus,omitempty"`   // processors' time
	Pids   int64   `json:"pids,omitempty"`   // processes and threads at once
}

// Bounds of the limits: what a container can begin with, and what the kernel takes.
const (
	MinMemory = 6 << 20
	MinCPUs   = 0.01
	MaxCPUs   = 1e6
	MaxPids   = 1 << 22
)

const cpuPeriod = 100_000 // µs

func (l Limits) check() error {
	bad := func(hint, format string, a ...any) error {
		return &SpecError{Problem: fmt.Sprintf(format, a...), Fix: hint}
	}
	switch {
	case l.Memory != 0 && l.Memory < MinMemory:
		return bad("give at least 6MiB", "a limit of %d bytes of memory", l.Memory)
	case l.CPUs != 0 && !(l.CPUs >= MinCPUs && l.CPUs <= MaxCPUs):
		return bad("give a number such as 0.5 or 2, at least 0.01", "a limit of %v processors", l.CPUs)
	case l.Pids < 0 || l.Pids > MaxPids:
		return bad("give at least 1", "a limit of %d processes", l.Pids)
	}
	return nil
}

// words are the limits as one reads them in a plan.
func (l Limits) words() (list []string) {
	for _, c := range l.controllers() {
		switch c {
		case "memory":
			list = append(list, fmt.Sprintf("memory=%d", l.Memory))
		case "cpu":
			list = append(list, fmt.Sprintf("cpus=%v", l.CPUs))
		case "pids":
			list = append(list, fmt.Sprintf("pids=%d", l.Pids))
		}
	}
	return list
}

func (l Limits) controllers() (list []string) {
	if l.CPUs > 0 {
		list = append(list, "cpu")
	}
	if l.Memory > 0 {
		list = append(list, "memory")
	}
	if l.Pids > 0 {
		list = append(list, "pids")
	}
	return list
}

// setting is a file of a group. The next one is written where there is no such file; none then is fine with optional.
type setting struct {
	file, value string
	instead     *setting
	optional    bool
}

func (l Limits) settings(controller string, v2 bool) []setting {
	memory, quota := strconv.FormatInt(l.Memory, 10), strconv.FormatInt(int64(l.CPUs*cpuPeriod), 10)
	switch {
	case controller == "pids":
		return []setting{{file: "pids.max", value: strconv.FormatInt(l.Pids, 10)}}
	case controller == "cpu" && v2:
		return []setting{{file: "cpu.max", value: quota + " " + strconv.Itoa(cpuPeriod)}}
	case controller == "cpu":
		return []setting{{file: "cpu.cfs_period_us", value: strconv.Itoa(cpuPeriod)}, {file: "cpu.cfs_quota_us", value: quota}}
	case v2: // without swap there is no file for it
		return []setting{{file: "memory.max", value: memory}, {file: "memory.swap.max", value: "0", optional: true}}
	}
	return []setting{{file: "memory.limit_in_bytes", value: memory},
		{file: "memory.memsw.limit_in_bytes", value: memory, instead: &setting{file: "memory.swappiness", value: "0"}}}
}

// group is a control group of a container, at first only planned.
type group struct {
	dir      string
	settings []setting
	events   string // file that counts processes killed for want of memory, "" without such a limit
	lock     *os.File
}

// groups says which groups keep the limits, in folders of one name. On version 2 it has controllers handed on.
func (l Limits) groups(hs []hierarchy, k groupFiles, name string) ([]*group, error) {
	var list []*group
	var unified []string
	for _, c := range l.controllers() {
		h := legacy(hs, c)
		if h == nil {
			unified = append(unified, c)
			continue
		}
		if err := unix.Faccessat(unix.AT_FDCWD, h.own, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
			return nil, &LimitsError{Controllers: l.controllers(), Err: err, Legacy: true}
		}
		list = add(list, path.Join(h.own, name), c, l.settings(c, false), "memory.oom_control")
	}
	if len(unified) == 0 {
		return list, nil
	}
	refused := error(unix.ENODEV)
	for _, h := range hs {
		if !h.v2 {
			continue
		}
		parent, err := h.parentOf(k, unified)
		if err != nil {
			refused = err
			continue
		}
		for _, c := range unified {
			list = add(list, path.Join(parent, name), c, l.settings(c, true), "memory.events")
		}
		return list, nil
	}
	return nil, &LimitsError{Controllers: unified, Err: refused}
}

func legacy(hs []hierarchy, controller string) *hierarchy {
	for i := range hs {
		for _, c := range hs[i].controllers {
			if c == controller {
				return &hs[i]
			}
		}
	}
	return nil
}

func add(list []*group, dir, controller string, s []setting, events string) []*group {
	if n := len(list); n == 0 || list[n-1].dir != dir {
		list = append(list, &group{dir: dir})
	}
	g := list[len(list)-1]
	g.settings = append(g.settings, s...)
	if controller == "memory" {
		g.events = path.Join(dir, events)
	}
	return list
}

// make makes the group and keeps it from being swept. Whoever swept it before it was held is outlasted.
func (g *group) make(k groupFiles) error {
	for range 100 {
		if err := k.mkdir(g.dir); err != nil && err != unix.EEXIST {
			return fmt.Errorf("mkdir %s: %w", g.dir, err)
		}
		f, err := os.Open(g.dir)
		if err != nil {
			if gone(err) {
				continue
			}
			return err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			f.Close()
			return err
		}
		if _, err := os.Stat(path.Join(g.dir, "cgroup.procs")); err != nil {
			f.Close()
			continue
		}
		g.lock = f
		break
	}
	for _, s := range g.settings {
		err := k.write(path.Join(g.dir, s.file), s.value)
		if gone(err) && s.instead != nil {
			err = k.write(path.Join(g.dir, s.instead.file), s.instead.value)
		}
		if err != nil && !(s.optional && gone(err)) {
			return err
		}
	}
	return nil
}

// kills counts the processes killed because of the memory limit.
func (g *group) kills() int {
	b, _ := os.ReadFile(g.events) // none if it is gone
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(v))
			return n
		}
	}
	return 0
}

// groupName is a name that no other group has.
func groupName() string {
	b := make([]byte, 6)
	rand.Read(b)
	return groupPrefix + hex.EncodeToString(b)
}

// LimitsError says that control groups for limits cannot be had.
type LimitsError struct {
	Controllers []string
	Err         error
	Legacy      bool // version 1
}

func (e *LimitsError) Error() string {
	what := strings.Join(e.Controllers, ", ")
	switch {
	case errors.Is(e.Err, unix.ENODEV), errors.Is(e.Err, os.ErrNotExist):
		return fmt.Sprintf("limits need the control group controller %s, which is not offered here", what)
	case errors.Is(e.Err, unix.EBUSY):
		return fmt.Sprintf("limits need a control group for %s that holds no processes itself: %v", what, e.Err)
	}
	return fmt.Sprintf("limits need a control group for %s that may be written to: %v", what, e.Err)
}

func (e *LimitsError) Unwrap() error { return e.Err }

// Hint is the next step for the user.
func (e *LimitsError) Hint() string {
	switch {
	case errors.Is(e.Err, unix.ENODEV), errors.Is(e.Err, os.ErrNotExist):
		return "see /sys/fs/cgroup/cgroup.controllers and /proc/cgroups; memory may need cgroup_enable=memory at boot"
	case errors.Is(e.Err, unix.EBUSY):
		return "in a container, give it the host's control groups (docker run --privileged --cgroupns=host); else systemd-run --scope -p Delegate=yes rootctl run ..."
	case e.Legacy && !errors.Is(e.Err, unix.EROFS):
		return "control groups of version 1 are root's alone: run it with sudo"
	case errors.Is(e.Err, unix.EROFS):
		return "the control groups are mounted read-only; in a container: docker run --privileged --cgroupns=host"
	}
	return "have systemd hand one to you: systemd-run --user --scope -p Delegate=yes rootctl run ...; or run it with sudo"
}
