//go:build e2e_export

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// podmanScript shows podman control groups of version 2 alone: where version 1 is mounted too, its runtime may refuse.
const podmanScript = `mount --make-rprivate / && { umount -R /sys/fs/cgroup 2>/dev/null || :; } && mount -t cgroup2 none /sys/fs/cgroup && exec podman "$@"`

// TestLadderInPodman builds and runs inside podman's containers: as they are by default, privileged, and with Docker's
// refusal of namespaces. The outer root is one of the fixture's.
func TestLadderInPodman(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: podman in the form that CI runners have")
	}
	if _, err := exec.LookPath("podman"); err != nil {
		t.Fatal(err)
	}
	f, work := newFixture(t), t.TempDir()
	want := f.build(t, filepath.Join(work, "cache"))
	root := filepath.Join(work, "root")
	if out, err := exec.Command("cp", "-a", filepath.Join(work, "cache", "roots", want), root).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	filter := filepath.Join(work, "filter.json")
	refuseNamespaces(t, filter)
	t.Cleanup(func() { // what podman leaves mounted
		for _, d := range []string{"r/overlay", "rr/overlay", "r", "rr"} {
			_ = unix.Unmount(filepath.Join(work, d), unix.MNT_DETACH)
		}
	})
	for _, x := range []struct {
		rung  string
		flags []string
		run   []string // flags of run
		said  string
	}{
		{"podman", nil, nil, "/proc and /sys inside are the outer ones"},
		{"privileged", []string{"--privileged"}, nil, ""},
		{"docker", []string{"--security-opt", "seccomp=" + filter, "--cap-add", "MKNOD"}, []string{"--isolation=chroot"}, "not isolated"},
	} {
		t.Run(x.rung, func(t *testing.T) {
			dir := filepath.Join(work, x.rung) // not work itself: its mount of the outer root has a /proc without covers
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			in := func(args ...string) *exec.Cmd {
				argv := []string{"-m", "sh", "-c", podmanScript, "podman", "--root", work + "/r", "--runroot", work + "/rr", "--cgroup-manager", "cgroupfs",
					"run", "--rm", "--cgroups=disabled", "--network=host", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024",
					"-v", f.self + ":/usr/bin/rootctl:ro", "-v", dir + ":" + dir, "-v", filepath.Dir(f.keyring()[1]) + ":" + filepath.Dir(f.keyring()[1]),
					"--env", "ROOTCTL_CACHE=" + dir}
				return exec.Command("unshare", append(append(append(argv, x.flags...), "--rootfs", root, "/usr/bin/rootctl"), args...)...)
			}
			out, errs, code := outcome(t, in(f.args...))
			if code != 0 || digestOf(t, dir) != want {
				t.Fatalf("build: exit code %d, root %s, want %s\n%s%s", code, digestOf(t, dir), want, out, errs)
			}
			out, errs, code = outcome(t, in(append(append([]string{"run"}, x.run...), "fixture", "sh", "-c", "echo $(id -u) >/new && cat /new; exit 7")...))
			if code != 7 || strings.TrimSpace(out) != "0" || !strings.Contains(errs, x.said) {
				t.Errorf("run: exit code %d, output %q\n%s", code, out, errs)
			}
			if left := leftFiles(t, dir); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// refuseNamespaces writes podman's own filter without what Docker's refuses to containers without CAP_SYS_ADMIN.
func refuseNamespaces(t *testing.T, file string) {
	t.Helper()
	type object = map[string]any
	b, err := os.ReadFile("/usr/share/containers/seccomp.json")
	if err != nil {
		t.Fatal(err)
	}
	var profile object
	if err := json.Unmarshal(b, &profile); err != nil {
		t.Fatal(err)
	}
	refused := " unshare mount umount2 setns clone clone3 fsopen fsmount open_tree move_mount mount_setattr pivot_root "
	rules, _ := profile["syscalls"].([]any)
	for _, r := range rules {
		rule, _ := r.(object)
		names, _ := rule["names"].([]any)
		kept := []any{}
		for _, n := range names {
			if s, _ := n.(string); !strings.Contains(refused, " "+s+" ") {
				kept = append(kept, n)
			}
		}
		rule["names"] = kept
	}
	profile["syscalls"] = append(rules,
		object{"names": []string{"clone"}, "action": "SCMP_ACT_ALLOW", "args": []object{{"index": 0, "value": 0x7e020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}}},
		object{"names": []string{"clone3"}, "action": "SCMP_ACT_ERRNO", "errnoRet": 38})
	if b, err = json.Marshal(profile); err == nil {
		err = os.WriteFile(file, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
