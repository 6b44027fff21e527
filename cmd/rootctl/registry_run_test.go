package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
)

// atBoot has a command find itself in another boot of the machine.
func atBoot(t *testing.T, c *exec.Cmd, id string) *exec.Cmd {
	t.Helper()
	file := filepath.Join(t.TempDir(), "boot_id")
	if err := os.WriteFile(file, []byte(id+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	script := `mount --bind "$1" /proc/sys/kernel/random/boot_id && shift && exec "$@"`
	o := exec.Command("unshare", append([]string{"-m", "sh", "-c", script, "sh", file, c.Path}, c.Args[1:]...)...)
	o.Env, o.Dir, o.SysProcAttr = c.Env, c.Dir, c.SysProcAttr
	return o
}

// TestRegistryRun has run pull what it needs: it does not wait for the disk, and what the disk may have lost of it, after a
// crash or a kill, is pulled again.
func TestRegistryRun(t *testing.T) {
	w := newCIWorld(t)
	r := startRegistry(t, registryWith{})
	repo := r.host + "/roots"
	made, _ := w.built(t.TempDir(), "--insecure", "--cache-to", repo, "--cache-required")
	args := append([]string{"run", "--insecure", "--cache-from", repo, "--cache-required"}, append(withoutTag(w.args[1:]), "cat", "/etc/os-release")...)
	command := func(dir string) *exec.Cmd {
		c := w.command(dir, args...)
		c.Env = append(c.Env, w.env...)
		return c
	}
	must := func(c *exec.Cmd) string {
		t.Helper()
		out, errs, code := outcome(t, c)
		if code != 0 || !strings.Contains(out, "ID=") {
			t.Fatalf("%v: %d\n%s%s", c.Args, code, out, errs)
		}
		return errs
	}
	manifests := func(dir string) []string {
		names, _ := filepath.Glob(filepath.Join(dir, "roots", "*.mtree*"))
		return names
	}
	root := strings.TrimPrefix(made.Digest, "sha256:")
	one := t.TempDir()
	must(command(one))
	first := manifests(one)
	if len(first) != 1 || !strings.HasPrefix(filepath.Base(first[0]), root+".mtree-") {
		t.Fatalf("it waited for the disk, or there is no root: %q", first)
	}
	must(command(one))
	if now := manifests(one); len(now) != 1 || now[0] != first[0] {
		t.Errorf("a moment later: %q", now)
	}
	w.cleanLeft(one)

	const other = "01234567-89ab-cdef-0123-456789abcdef"
	size := filepath.Join(one, "roots", root, "etc", "os-release")
	if st, err := os.Lstat(size); err == nil && st.Mode()&os.ModeSymlink != 0 {
		size = filepath.Join(one, "roots", root, "usr", "lib", "os-release")
	}
	if err := os.Truncate(size, 0); err != nil {
		t.Fatal(err)
	}
	if out, errs, code := outcome(t, atBoot(t, w.command(one, "ls", "--json"), other)); code != 0 || strings.Contains(out, root[:12]) {
		t.Errorf("ls in the next boot: %d\n%s%s", code, out, errs)
	}
	must(atBoot(t, command(one), other))
	if now := manifests(one); len(now) != 1 || now[0] == first[0] {
		t.Errorf("in the next boot: %q", now)
	}
	if out, errs, code := outcome(t, atBoot(t, w.command(one, "cache", "verify", "--roots"), other)); code != 0 {
		t.Errorf("in the next boot: %d\n%s%s", code, out, errs)
	}
	must(command(one)) // a third boot: it has this one's name again, and nothing of it
	w.cleanLeft(one)

	old := time.Now().Add(-2 * time.Minute)
	if err := os.Chtimes(manifests(one)[0], old, old); err != nil {
		t.Fatal(err)
	}
	must(command(one))
	if now := manifests(one); len(now) != 1 || !strings.HasSuffix(now[0], root+".mtree") {
		t.Errorf("two minutes later: %q", now)
	}
	must(atBoot(t, command(one), other))
	w.cleanLeft(one)

	t.Run("killed", func(t *testing.T) {
		dir, begun := t.TempDir(), time.Now()
		must(command(dir)) // also makes what runs share, which is not what this is about
		took := time.Since(begun)
		s, err := cache.Open(dir, cache.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for n := range 6 {
			if err := s.Remove(cache.Digest(root)); err != nil {
				t.Fatal(err)
			}
			c := command(dir)
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			delay := time.Duration(n+1)*took/8 + time.Duration(rand.Int64N(int64(took)/6))
			time.Sleep(delay)
			_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
			_ = c.Wait() // it was killed, or had ended
			w.checkKilled(t, dir, fmt.Sprintf("killed after %v", delay))
		}
		must(command(dir))
		(&ciWorld{fixture: w.fixture, t: t, env: w.env}).cleanLeft(dir)
	})
}
