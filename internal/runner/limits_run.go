package runner

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"

	"golang.org/x/sys/unix"
)

// planGroups chooses the control groups of a container with limits; the keeper is told of them before they are made.
func (c *container) planGroups() error {
	if c.spec.Limits == (Limits{}) {
		return nil
	}
	op := c.plan.find(VerbLimit)
	cgroup, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return stepError(op, "read", err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return stepError(op, "read", err)
	}
	c.groups, err = c.spec.Limits.groups(hierarchies(string(cgroup), string(mounts)), kernelGroups{}, groupName())
	if err != nil {
		return err
	}
	for _, g := range c.groups {
		sweepGroups(path.Dir(g.dir))
	}
	return nil
}

// enterGroups makes the groups and moves the init there, which waits and has executed nothing yet. This process and the
// keeper stay outside.
func (c *container) enterGroups() error {
	op := c.plan.find(VerbLimit)
	for _, g := range c.groups {
		err := g.make(kernelGroups{})
		if err == nil {
			err = kernelGroups{}.write(path.Join(g.dir, "cgroup.procs"), strconv.Itoa(c.pid))
		}
		if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EROFS) {
			return &LimitsError{Controllers: c.spec.Limits.controllers(), Err: err}
		}
		if err != nil {
			return stepError(op, "", fmt.Errorf("control group: %w", err))
		}
	}
	return nil
}

// groupsOf are the control groups made by rootctl that a process is in.
func groupsOf(pid int) (dirs []string, _ error) {
	cgroup, err := os.ReadFile(procPath(pid, "cgroup"))
	if err != nil {
		return nil, err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	for _, h := range hierarchies(string(cgroup), string(mounts)) {
		if isGroup(h.own) {
			dirs = append(dirs, h.own)
		}
	}
	return dirs, nil
}

// groupDirs are the folders of the groups.
func (c *container) groupDirs() (dirs []string) {
	for _, g := range c.groups {
		dirs = append(dirs, g.dir)
	}
	return dirs
}

// watchMemory remembers how often the memory limit has killed before a command joined.
func (c *container) watchMemory(dirs []string) {
	if c.spec.Limits.Memory == 0 {
		return
	}
	for _, dir := range dirs {
		for _, name := range []string{"memory.events", "memory.oom_control"} {
			if file := path.Join(dir, name); unix.Access(file, unix.R_OK) == nil {
				g := &group{events: file}
				c.groups = append(c.groups, g)
				c.killsBefore += g.kills()
			}
		}
	}
}

// overMemory says whether the memory limit has killed any process.
func (c *container) overMemory() bool {
	n := 0
	for _, g := range c.groups {
		if g.events != "" {
			n += g.kills()
		}
	}
	return n > c.killsBefore
}

func (c *container) releaseGroups() {
	for _, g := range c.groups {
		if g.lock != nil {
			g.lock.Close()
		}
	}
}
