package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/reference"
)

// contender is one way to do what is measured.
type contender struct {
	name    string
	do      func(context.Context) error
	cleanUp func() error // not measured; may be nil
	memory  *int64       // kilobytes, set by do; may be nil
}

const settle = time.Second

// measure lets the contenders take turns, after a first round that only warms, and adds a row.
func (b *bench) measure(ctx context.Context, what string, rounds int, all ...contender) error {
	r, long := row{what: what}, rounds == b.n
	for _, c := range all {
		r.results = append(r.results, result{name: c.name})
	}
	for round := -1; round < rounds; round++ {
		for k := range all {
			i := (k + round + 1) % len(all) // who comes first changes
			c := all[i]
			if long {
				unix.Sync() // what the one before left to be written is not paid by this one
				time.Sleep(settle)
			}
			start := time.Now()
			err := c.do(ctx)
			took := time.Since(start)
			if c.cleanUp != nil {
				if cerr := c.cleanUp(); err == nil {
					err = cerr
				}
			}
			if err != nil {
				return fmt.Errorf("%s: %s: %w", what, c.name, err)
			}
			if round < 0 {
				continue
			}
			r.results[i].times = append(r.results[i].times, took)
			if c.memory != nil {
				r.results[i].memoryKB = max(r.results[i].memoryKB, *c.memory)
			}
		}
		if long {
			fmt.Fprintf(os.Stderr, "%s: round %d of %d\n", what, round+1, rounds)
		}
	}
	b.rows = append(b.rows, r)
	return nil
}

// cold builds with an empty cache, everything in the local mirror.
func (b *bench) cold(ctx context.Context, suite string) error {
	var memory int64
	job, err := b.job(suite)
	if err != nil {
		return err
	}
	ours := *job
	ours.MemoryKB = &memory
	dir := filepath.Join(b.work, "root")
	rc := reference.Rootctl{Program: b.rc.Program, Cache: filepath.Join(b.work, "cold")}
	// Nothing is removed between measurements: for a minute and more ext4 passes over each recently freed
	// inode anew whenever it makes a file (recently_deleted in fs/ext4/ialloc.c), so that one contender would
	// pay for the removal of another's root. It took our unpacking of bookworm from 1.0 s to 3.6 s.
	n := 0
	aside := func(path string) func() error {
		return func() error {
			n++
			return os.Rename(path, fmt.Sprintf("%s-%s-%d", path, suite, n))
		}
	}
	return b.measure(ctx, "cold build of "+suite+" minbase", b.n,
		contender{"rootctl", func(ctx context.Context) error {
			rep, err := rc.Build(ctx, &ours)
			if err == nil && rep.Cached {
				err = fmt.Errorf("the cache was not empty")
			}
			return err
		}, aside(rc.Cache), &memory},
		contender{"debootstrap", func(ctx context.Context) error { return job.Debootstrap(ctx, dir) }, aside(dir), nil},
		contender{"mmdebstrap", func(ctx context.Context) error { return job.Mmdebstrap(ctx, dir) }, aside(dir), nil},
	)
}

// cached measures what a cached root costs: finding it, running a command in it, and joining a container of it.
func (b *bench) cached(ctx context.Context, what []string) error {
	job, err := b.job("bionic")
	if err != nil {
		return err
	}
	rep, err := b.rc.Build(ctx, job)
	if err != nil {
		return err
	}
	if slices.Contains(what, "hit") {
		empty, err := emptyProgram(ctx, b.work)
		if err != nil {
			return err
		}
		err = b.measure(ctx, "offline hit of bionic", 10*b.n,
			contender{name: "rootctl", do: b.command(b.rc.Program, "build", "--quiet", "--offline", "bionic")},
			contender{name: "empty Go program", do: b.command(empty)})
		if err != nil {
			return err
		}
	}
	if slices.Contains(what, "run") {
		if err := b.runs(ctx, b.rc.Dir(rep.Digest)); err != nil {
			return err
		}
	}
	if slices.Contains(what, "exec") {
		return b.execs(ctx)
	}
	return nil
}

// env has rootctl use a cache and records of this run.
func (b *bench) env() []string {
	return append(os.Environ(), "ROOTCTL_CACHE="+b.rc.Cache, "ROOTCTL_STATE="+filepath.Join(b.work, "state", "containers"))
}

func (b *bench) command(argv ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Env = b.env()
		if b.verbose {
			cmd.Stderr = os.Stderr
		}
		return cmd.Run()
	}
}

// emptyProgram builds the program that does nothing: the floor for one written in Go.
func emptyProgram(ctx context.Context, work string) (string, error) {
	dir := filepath.Join(work, "empty")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	source, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "empty")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o644); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", program, source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build an empty program: %w\n%s", err, out)
	}
	return program, nil
}
