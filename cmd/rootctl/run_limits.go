package main

import (
	"fmt"
	"math"
	"strconv"

	"github.com/spf13/pflag"

	"github.com/rootctl/rootctl/internal/runner"
)

// limitFlags say what the container may use of the machine.
type limitFlags struct {
	memory, cpus, pids string
}

func (l *limitFlags) register(f *pflag.FlagSet) {
	f.StringVar(&l.memory, "memory", "", "`SIZE` of memory that the container may use at most, like 512MB; no swap beyond it")
	f.StringVar(&l.cpus, "cpus", "", "`N` processors whose time it may use at most, like 1.5")
	f.StringVar(&l.pids, "pids", "", "`N` processes and threads that it may have at once at most")
}

func (l *limitFlags) apply(s *runner.Spec) error {
	bad := func(flag, given, why, hint string) error {
		return withHint(&flagError{fmt.Errorf("%s %s: %s", flag, given, why)}, "%s", hint)
	}
	if l.memory != "" {
		n, err := parseSize(l.memory)
		switch {
		case err != nil || n == 0:
			return bad("--memory", l.memory, "no size", "a size is like 512MB, 1GiB or a number of bytes")
		case n < runner.MinMemory:
			return bad("--memory", l.memory, "too small to begin with", "give at least 6MiB")
		}
		s.Limits.Memory = n
	}
	if l.cpus != "" {
		n, err := strconv.ParseFloat(l.cpus, 64)
		if err != nil || !(n >= runner.MinCPUs && n <= runner.MaxCPUs) {
			return bad("--cpus", l.cpus, "no number of processors", "a number such as 0.5 or 2, at least 0.01")
		}
		s.Limits.CPUs = n
	}
	if l.pids != "" {
		n, err := strconv.ParseInt(l.pids, 10, 64)
		if err != nil || n < 1 || n > runner.MaxPids {
			return bad("--pids", l.pids, "no number of processes", "a number such as 100, at least 1")
		}
		s.Limits.Pids = n
	}
	return nil
}

// sayOverMemory tells of an end at the limit of memory. A command that outlived a process of its own may have failed for
// another reason.
func (a *app) sayOverMemory(l runner.Limits, code int) {
	limit := sizeText(l.Memory)
	if code == 137 {
		fmt.Fprintf(a.stderr, "rootctl: killed: over its memory limit of %s (--memory)\n", limit)
		return
	}
	fmt.Fprintf(a.stderr, "note: a process inside was killed: over the memory limit of %s (--memory)\n", limit)
}

// sizeText is a size as one would give it to a flag.
func sizeText(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1e9, "GB"}, {1 << 30, "GiB"}, {1e6, "MB"}, {1 << 20, "MiB"}} {
		if n%u.size == 0 {
			return fmt.Sprintf("%d %s", n/u.size, u.name)
		}
	}
	return fmt.Sprintf("%v MB", math.Round(float64(n)/1e5)/10)
}
