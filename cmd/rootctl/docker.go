package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/rootctl/rootctl/internal/cache/oci/registry"
)

var proxyFromEnvironment = http.ProxyFromEnvironment

// dockerLogin finds a login for a registry where docker login leaves it: $DOCKER_CONFIG/config.json, else
// ~/.docker/config.json, and the helpers that are named there.
func (a *app) dockerLogin(ctx context.Context, host string) (registry.Login, error) {
	dir := a.getenv("DOCKER_CONFIG")
	if home := a.getenv("HOME"); dir == "" && home != "" {
		dir = filepath.Join(home, ".docker")
	}
	if dir == "" {
		return registry.Login{}, nil
	}
	name := filepath.Join(dir, "config.json")
	file, err := readFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return registry.Login{}, nil
	}
	if err != nil {
		return registry.Login{}, fmt.Errorf("logins: %w", err)
	}
	find, err := registry.DockerLogin(file, a.credentialHelper)
	if err != nil {
		return registry.Login{}, withHint(fmt.Errorf("logins: read %s: %w", name, err), "docker login writes it anew")
	}
	return find(ctx, host)
}

// Bounds of a credential helper: it may ask a person.
const (
	helperTime   = 2 * time.Minute // unless the app has another
	maxHelperOut = 64 << 10
)

// credentialHelper runs program get. What it says on its standard error is not shown: nobody knows what stands there.
func (a *app) credentialHelper(ctx context.Context, program, host string) ([]byte, error) {
	limit := cmp.Or(a.helperTime, helperTime)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c := exec.CommandContext(ctx, program, "get")
	if !term.IsTerminal(int(a.stdin.Fd())) { // else it may ask there, which a group in the background cannot
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) } // with what it started
	}
	c.Stdin = strings.NewReader(host)
	c.WaitDelay = time.Second
	out := &bounded{stop: cancel}
	c.Stdout = out
	err := c.Run()
	switch {
	case out.full:
		return nil, fmt.Errorf("it writes more than %d bytes", maxHelperOut)
	case errors.Is(err, exec.ErrNotFound):
		return nil, withHint(errors.New("there is no such program"), "install it, or take it out of ~/.docker/config.json and log in again")
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, withHint(fmt.Errorf("no answer in %s", limit), "echo %s | %s get shows what it waits for", host, program)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return out.b.Bytes(), errors.New("it failed")
	}
	return out.b.Bytes(), nil
}

// bounded keeps so much and refuses the rest, which ends its writer.
type bounded struct {
	b    bytes.Buffer
	full bool
	stop func()
}

func (w *bounded) Write(p []byte) (int, error) {
	if w.b.Len()+len(p) > maxHelperOut {
		w.full = true
		w.stop() // it may not mind a closed pipe
		return 0, errors.New("too much")
	}
	return w.b.Write(p)
}
