package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/debootstrap/fetch"
	"github.com/rootctl/rootctl/internal/reference"
	"github.com/rootctl/rootctl/internal/runner"
)

// buildOn builds on another day: rootctl's packages get a clock that is ahead, and so does every program that
// runs inside, by the suite's own libfaketime. What programs leave is given times of that day, which the kernel's
// clock would have given it.
func (c *comparer) buildOn(ctx context.Context, job *reference.Job, w way, dir string) (string, *cache.Manifest, error) {
	lib, err := c.faketime(ctx, job, filepath.Join(dir, "faketime"))
	if err != nil {
		return "", nil, fmt.Errorf("get libfaketime: %w", err)
	}
	scripts := &clockExecutor{lib: lib, ahead: w.ahead, began: time.Now().Truncate(time.Second)}
	b, err := c.builder(filepath.Join(dir, "cache"), func() time.Time { return time.Now().Add(w.ahead) })
	if err != nil {
		return "", nil, err
	}
	b.Exec = scripts
	res, err := b.Build(ctx, request(job))
	if err != nil {
		return "", nil, err
	}
	defer res.Lease.Close()
	defer os.RemoveAll(dir) //nolint:errcheck // the whole folder goes later
	if scripts.seen < 1 || res.Cached {
		return "", nil, fmt.Errorf("the clock was put forward in %d containers, cached: %v", scripts.seen, res.Cached)
	}
	m, err := res.Lease.Manifest()
	return string(res.Root), m, err
}

func (c *comparer) builder(dir string, now func() time.Time) (*debootstrap.Builder, error) {
	store, err := cache.Open(dir, cache.Options{Now: now})
	quiet := slog.New(slog.DiscardHandler)
	return &debootstrap.Builder{Store: store, Suites: c.set, Now: now, Log: quiet, Client: &fetch.Client{Log: quiet}}, err
}

func request(job *reference.Job) debootstrap.Request {
	return debootstrap.Request{Suite: job.Suite, Variant: job.Variant, Arch: job.Arch, Include: job.Include, Exclude: job.Exclude,
		Mirrors: []debootstrap.Mirror{{URL: job.Mirror}}, OnlyThese: true, AllowExpired: true}
}

// faketime unpacks the suite's libfaketime, which is in universe in Ubuntu, and returns the library's name.
func (c *comparer) faketime(ctx context.Context, job *reference.Job, dir string) (string, error) {
	b, err := c.builder(filepath.Join(dir, "cache"), time.Now)
	if err != nil {
		return "", err
	}
	req := request(job)
	req.Variant, req.Include, req.Exclude = "essential", []string{"libfaketime"}, nil
	if job.Suite.Family == "ubuntu" {
		req.Components = []string{"main", "universe"}
	}
	lock, err := b.Resolve(ctx, req)
	if err != nil {
		return "", err
	}
	for _, p := range lock.Packages {
		if p.Name != "libfaketime" {
			continue
		}
		deb := filepath.Join(dir, "libfaketime.deb")
		if err := download(ctx, job.Mirror+"/"+p.Path, deb, p.Size, string(p.SHA256)); err != nil {
			return "", err
		}
		if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", deb, dir).CombinedOutput(); err != nil {
			return "", fmt.Errorf("dpkg-deb -x %s: %w\n%s", p.Path, err, out)
		}
		libs, err := filepath.Glob(filepath.Join(dir, "usr/lib/*/faketime/libfaketime.so.1"))
		if err != nil || len(libs) != 1 {
			return "", fmt.Errorf("%s: %d libraries %v", p.Path, len(libs), err)
		}
		return libs[0], nil
	}
	return "", errors.New("it was not selected")
}

// download gets one file of a signed index.
func download(ctx context.Context, url, name string, size int64, sum string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(io.LimitReader(resp.Body, size+1))
	if err != nil {
		return err
	}
	if got := sha256.Sum256(b); hex.EncodeToString(got[:]) != sum {
		return fmt.Errorf("%s: status %s, %d bytes, another SHA-256 than the index says", url, resp.Status, len(b))
	}
	return os.WriteFile(name, b, 0o644)
}

// clockExecutor runs scripts as rootctl does, on another day.
type clockExecutor struct {
	lib   string
	ahead time.Duration
	began time.Time
	seen  int // containers in which date was asked and said that day
}

// library is where the containers have it: in their own /dev, of which nothing stays.
const library = "/dev/libfaketime.so.1"

func (e *clockExecutor) Exec(ctx context.Context, c debootstrap.Command) (int, error) {
	c.Env = append(c.Env, "LD_PRELOAD="+library, fmt.Sprintf("FAKETIME=+%d", int64(e.ahead/time.Second)),
		"NO_FAKE_STAT=1", "DONT_FAKE_MONOTONIC=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "FAKETIME_DISABLE_SHM=1")
	if err := e.check(ctx, c); err != nil {
		return 0, err
	}
	status, err := e.run(ctx, c)
	return status, errors.Join(err, e.age(c.Dir))
}

// check asks date what day it is.
func (e *clockExecutor) check(ctx context.Context, c debootstrap.Command) error {
	var out bytes.Buffer
	c.Argv, c.Output = []string{"/bin/date", "+%s"}, &out
	status, err := e.run(ctx, c)
	if err != nil {
		return err
	}
	said, err := strconv.ParseInt(strings.TrimSpace(out.String()), 10, 64)
	if off := time.Since(time.Unix(said, 0)) + e.ahead; status != 0 || err != nil || off.Abs() > time.Minute {
		return fmt.Errorf("date inside says %q (status %d), which is not %s from now", out.String(), status, e.ahead)
	}
	e.seen++
	return nil
}

func (e *clockExecutor) run(ctx context.Context, c debootstrap.Command) (int, error) {
	ids, lock, err := runner.ClaimIDs("/run/rootctl/ids")
	if err != nil {
		return 0, err
	}
	defer lock.Close() //nolint:errcheck // only locked
	spec := runner.Spec{Dir: c.Dir, Argv: c.Argv, Env: c.Env, Workdir: "/", Hostname: "localhost", Net: "none", NoFsync: true,
		Umask: 0o022, NoNewPrivs: true, UserNS: "own", IDs: ids,
		Binds: []runner.Bind{{Src: e.lib, Dst: library, ReadOnly: true, Identity: true}}}
	if c.Devfsd {
		spec.DevNodes = []string{".devfsd"}
	}
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer r.Close() //nolint:errcheck // only read
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(c.Output, r)
		copied <- err
	}()
	status, err := runner.Run(ctx, spec, runner.Options{Stdout: w, Stderr: w, Keep: &runner.Keep{Locks: []*os.File{lock}}})
	return status.Code, errors.Join(err, w.Close(), <-copied)
}

// age puts the times of what is new forward, once.
func (e *clockExecutor) age(dir string) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil || fi.ModTime().Before(e.began) || fi.ModTime().After(time.Now().Add(time.Hour)) {
			return err
		}
		then, err := unix.TimeToTimespec(fi.ModTime().Add(e.ahead))
		if err != nil {
			return err
		}
		return unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{then, then}, unix.AT_SYMLINK_NOFOLLOW)
	})
}
