package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"
)

// atOnce is how many containers of one root run beside each other.
const atOnce = 60

// runs measures containers of a cached root that do nothing: beside other programs, many at once, by an ordinary user.
func (b *bench) runs(ctx context.Context, root string) error {
	ours := b.command(b.rc.Program, "run", "--no-build", "bionic", "true")
	bwrap := b.command("bwrap", "--unshare-all", "--bind", root, "/", "true")
	all := []contender{{name: "rootctl", do: ours}}
	if b.has("run", "--upper") {
		all = append(all, contender{name: "rootctl --upper=tmpfs", do: b.command(b.rc.Program, "run", "--no-build", "--upper=tmpfs", "bionic", "true")})
	}
	bundle, err := b.bundle(ctx, root)
	if err != nil {
		return err
	}
	all = append(all, contender{name: "bwrap --unshare-all", do: bwrap},
		contender{name: "bwrap with run's mounts, no copy", do: b.command(sameMounts(root)...)},
		contender{name: "runc run, bundle prepared", do: b.command("runc", "run", "--bundle", bundle, "rootctl-bench")},
		contender{name: "systemd-nspawn --volatile=overlay", do: b.command("systemd-nspawn", "-q", "--register=no", "--keep-unit", "--timezone=off",
			"--link-journal=no", "--machine=rootctl-bench", "--volatile=overlay", "-D", root, "true")},
		contender{name: "podman run --rootfs ROOT:O", do: b.podman(root)})
	if err := b.measure(ctx, "run bionic true", 10*b.n, all...); err != nil {
		return err
	}
	err = b.measure(ctx, fmt.Sprintf("%d at once of run bionic true", atOnce), b.n,
		contender{name: "rootctl", do: together(ours)}, contender{name: "bwrap --unshare-all", do: together(bwrap)})
	if err != nil {
		return err
	}
	return b.rootless(ctx, ours)
}

// sameMounts has bwrap, written in C, mount what a run mounts beside the copy itself: the share of a run's time that no
// program of the same use is spared.
func sameMounts(root string) []string {
	argv := []string{"bwrap", "--unshare-all", "--hostname", "rootctl", "--cap-drop", "ALL", "--bind", root, "/", "--proc", "/proc", "--dev", "/dev",
		"--mqueue", "/dev/mqueue", "--tmpfs", "/tmp", "--tmpfs", "/run", "--ro-bind", "/sys", "/sys"}
	for _, n := range []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"} {
		if there(n) {
			argv = append(argv, "--ro-bind", n, n)
		}
	}
	for _, n := range []string{"interrupts", "kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug"} {
		if there("/proc/" + n) {
			argv = append(argv, "--ro-bind", "/dev/null", "/proc/"+n)
		}
	}
	for _, n := range []string{"/proc/acpi", "/sys/firmware", "/sys/devices/virtual/powercap"} {
		if there(n) {
			argv = append(argv, "--tmpfs", n)
		}
	}
	return append(argv, "true")
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// has says whether the help of a verb names a flag.
func (b *bench) has(verb, flag string) bool {
	out, err := exec.Command(b.rc.Program, verb, "--help").Output()
	return err == nil && bytes.Contains(out, []byte(flag+" "))
}

// together does the same thing atOnce times beside each other and waits for all.
func together(do func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		g, ctx := errgroup.WithContext(ctx)
		for range atOnce {
			g.Go(func() error { return do(ctx) })
		}
		return g.Wait()
	}
}

// bundle is runc's own example with a root that is read in place, no copy, and without limits, which not every kind of
// control group can have.
func (b *bench) bundle(ctx context.Context, root string) (string, error) {
	dir := filepath.Join(b.work, "bundle")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	if out, err := exec.CommandContext(ctx, "runc", "spec", "--bundle", dir).CombinedOutput(); err != nil {
		return "", fmt.Errorf("runc spec: %w\n%s", err, out)
	}
	file := filepath.Join(dir, "config.json")
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	var all map[string]any
	if err := json.Unmarshal(text, &all); err != nil {
		return "", fmt.Errorf("read runc's bundle: %w", err)
	}
	config := map[string]map[string]any{}
	for _, key := range []string{"process", "root", "linux"} {
		part, ok := all[key].(map[string]any)
		if !ok {
			return "", fmt.Errorf("read runc's bundle: it has no %s", key)
		}
		config[key] = part
	}
	config["process"]["terminal"], config["process"]["args"] = false, []string{"true"}
	config["root"]["path"], config["root"]["readonly"] = root, true
	delete(config["linux"], "resources")
	if text, err = json.Marshal(all); err != nil {
		return "", err
	}
	return dir, os.WriteFile(file, text, 0o644)
}

// podman runs in a mount namespace that shows control groups of version 2 alone: where version 1 is mounted, its runtime
// may refuse to start.
func (b *bench) podman(root string) func(context.Context) error {
	const script = "mount --make-rprivate / && { umount -R /sys/fs/cgroup 2>/dev/null || :; } && mount -t cgroup2 none /sys/fs/cgroup && exec podman \"$@\""
	store := filepath.Join(b.work, "podman")
	return b.command("unshare", "-m", "sh", "-c", script, "podman", "--root", store+"/r", "--runroot", store+"/rr", "--cgroup-manager", "cgroupfs",
		"run", "--rm", "--cgroups=disabled", "--network=none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--rootfs", root+":O", "true")
}

// benchUser is the ordinary user; the tests have the same.
const benchUser = "rootctl-test"

// rootless measures the same root in the cache of an ordinary user.
func (b *bench) rootless(ctx context.Context, ours func(context.Context) error) error {
	u, err := user.Lookup(benchUser)
	if err != nil {
		return fmt.Errorf("%w: make tools-for-tests makes it", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err1 != nil || err2 != nil {
		return fmt.Errorf("user %s has the ids %s and %s", benchUser, u.Uid, u.Gid)
	}
	home := filepath.Join(b.work, "home")
	tar, program := filepath.Join(b.work, "bionic.tar"), filepath.Join(b.work, "rootctl")
	if err := os.Mkdir(home, 0o700); err != nil {
		return err
	}
	if err := os.Chown(home, int(uid), int(gid)); err != nil {
		return err
	}
	if err := os.Chmod(b.work, 0o711); err != nil {
		return err
	}
	if err := b.command("cp", b.rc.Program, program)(ctx); err != nil {
		return err
	}
	if err := b.command(b.rc.Program, "export", "-q", "bionic", "-o", tar)(ctx); err != nil {
		return err
	}
	if err := os.Chmod(tar, 0o644); err != nil {
		return err
	}
	as := func(argv ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			cmd := exec.CommandContext(ctx, program, argv...)
			cmd.Dir = home
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "ROOTCTL_CACHE=" + filepath.Join(home, "cache")}
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
			var errs strings.Builder
			cmd.Stderr = &errs
			if err := cmd.Run(); err != nil {
				return fmt.Errorf("%w\n%s", err, errs.String())
			}
			return nil
		}
	}
	if err := as("import", "-q", tar, "--tag", "my-bionic")(ctx); err != nil {
		return fmt.Errorf("import as %s: %w", benchUser, err)
	}
	return b.measure(ctx, "run bionic true by an ordinary user", 10*b.n,
		contender{name: "rootctl, by a user with id ranges", do: as("run", "--no-build", "my-bionic", "true")},
		contender{name: "rootctl, by root", do: ours})
}
