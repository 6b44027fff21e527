//go:build e2e_kernel

package runner

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// kernelTests are the short suite: everything of a run that depends on the kernel's version.
const kernelTests = "^(TestExitCodes|TestSurroundings|TestSevenNamespacesDiffer|TestOnlyOwnProcessesAndFilesAreSeen|TestCachedRootIsUnchanged|" +
	"TestLayersInOrder|TestUpperOnDiskIsUsedAndRemoved|TestInPlace|TestCapabilitiesAndPrivileges|TestCleanStart|TestNoFsync|" +
	"TestPlainCopy|TestPlainCopyIsRemoved|TestShiftTree|TestReadOnlyRoot|TestMemory|TestInit|TestMountsDoNotPropagate|" +
	"TestStopSignals|TestKilledFromOutside|TestKilledHostProcess|TestTerminalSession|TestShare|TestBare|TestRecordedOwners|" +
	"TestExecSameWorld|TestExecCodes|TestExecEndsWithTheContainer|TestKeyringOfTheHost|TestBlockedCallsInEveryTable|" +
	"TestBindBelongsToItsOwner|TestBindsOfSeveralKindsTogether|TestBindOptions|" +
	"TestMemoryLimit|TestCPULimit|TestPidsLimit|TestForkBomb|TestLimitsOfJoined|TestKilledWithLimits|TestNoLimitsNoGroups|" +
	"TestLimitsOnRealVersion2|TestLimitsOfUser)$"

// copiedTests do not fit a kernel that copies the root for each run (before 5.19): a copy is larger than the limit of it.
const copiedTests = "^TestMemory$"

// kernelModules are inserted where they are modules, each after what it needs.
var kernelModules = []string{"virtio_pci", "virtio_blk", "crc32c_generic", "ext4", "overlay"}

// TestE2EKernel boots the kernel of each root named in E2E_KERNEL_ROOTS (SUITE=TREE, separated by blanks) in a virtual
// machine and runs the short suite there, on ext4 and under control groups of version 2. E2E_KERNEL_TESTS is this package's test program, linked statically.
func TestE2EKernel(t *testing.T) {
	program := os.Getenv("E2E_KERNEL_TESTS")
	roots := strings.Fields(os.Getenv("E2E_KERNEL_ROOTS"))
	if program == "" || len(roots) == 0 {
		t.Fatal("E2E_KERNEL_TESTS or E2E_KERNEL_ROOTS is not set: use make e2e-kernel")
	}
	needRoot(t)
	for _, r := range roots {
		suite, tree, ok := strings.Cut(r, "=")
		if !ok {
			t.Fatalf("E2E_KERNEL_ROOTS: %q is not SUITE=TREE", r)
		}
		t.Run(suite, func(t *testing.T) { bootAndTest(t, tree, program) })
	}
}

func bootAndTest(t *testing.T, tree, program string) {
	kernels, _ := filepath.Glob(filepath.Join(tree, "boot/vmlinuz-*"))
	if len(kernels) != 1 {
		t.Fatalf("kernels %q, want one", kernels)
	}
	version := strings.TrimPrefix(filepath.Base(kernels[0]), "vmlinuz-")
	dir := t.TempDir()
	disk := kernelDisk(t, dir, program)
	initrd := kernelInitrd(t, dir, filepath.Join(tree, "lib/modules", version))
	// Emulated: a /dev/kvm that is there may still hang in a machine that is virtual itself, and booting takes 2 s.
	args := []string{"-accel", "tcg", "-cpu", "max", "-m", "1024", "-smp", "1", "-nographic", "-no-reboot", "-nodefaults",
		"-serial", "stdio", "-kernel", kernels[0], "-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1 rdinit=/init",
		"-drive", "if=virtio,format=raw,file=" + disk}
	const limit = 10 * time.Minute
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var serial bytes.Buffer
	c := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	c.Stdout = io.MultiWriter(&serial, os.Stderr) // as it comes: this takes minutes
	c.Stderr = c.Stdout
	err := c.Run()
	out := bytes.ReplaceAll(serial.Bytes(), []byte("\r"), nil)
	if err != nil {
		t.Errorf("qemu: %v", err)
	}
	passes := regexp.MustCompile(`(?m)^--- PASS: `).FindAll(out, -1)
	skips := regexp.MustCompile(`(?m)^ *--- SKIP: .*`).FindAll(out, -1)
	fails := regexp.MustCompile(`(?m)^ *--- FAIL: .*`).FindAll(out, -1)
	booted := regexp.MustCompile(`(?m)^kernel: (.*)$`).FindSubmatch(out)
	// The code comes last: a machine that stops half-way has not passed.
	if booted == nil || string(booted[1]) != version || len(fails) > 0 || len(skips) > 0 || len(passes) == 0 ||
		!bytes.Contains(out, []byte("\nsuite: exit 0\n")) {
		t.Fatalf("kernel %s: %d passed, failed %q, skipped %q\n%s", version, len(passes), fails, skips, out)
	}
	t.Logf("kernel %s: %d passed", booted[1], len(passes))
}

// kernelDisk makes an ext4 image of the programs that tests run inside, the test program and what starts it.
func kernelDisk(t *testing.T, dir, program string) string {
	root := filepath.Join(dir, "disk")
	if err := makeRoot(root); err != nil {
		t.Fatal(err)
	}
	copyPrograms(t, root, "ldd")
	copyFile(t, program, filepath.Join(root, "runner.test"))
	script := "#!/bin/bash\nexport PATH=/bin HOME=/root\nmount -n -t proc proc /proc\nmount -n -t sysfs sys /sys\nmount -n -t devtmpfs dev /dev\n" +
		"mkdir -p /dev/pts /dev/shm\nmount -n -t devpts devpts /dev/pts\nmount -n -t tmpfs tmpfs /dev/shm\nmount -n -t tmpfs tmpfs /run\n" +
		"mount -n -t cgroup2 cgroup2 /sys/fs/cgroup\n" +
		"skip=\ncase $(uname -r) in 5.*) skip='-test.skip=" + copiedTests + "';; esac\n" +
		"echo\necho \"kernel: $(uname -r)\"\ncd /tmp\n/runner.test -test.v -test.timeout 9m $skip -test.run '" + kernelTests + "'\n" +
		"code=$?\necho\necho \"suite: exit $code\"\nsync\n" +
		"exit 0\n" // the kernel panics when its init ends, and with panic=-1 leaves the machine
	if err := os.WriteFile(filepath.Join(root, "start"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(dir, "disk.img")
	run(t, "", "mkfs.ext4", "-q", "-d", root, image, "1G")
	return image
}

// kernelInitrd makes an archive that inserts the modules and goes on from the disk.
func kernelInitrd(t *testing.T, dir, modules string) string {
	root := filepath.Join(dir, "initrd")
	if err := os.MkdirAll(filepath.Join(root, "disk"), 0o755); err != nil {
		t.Fatal(err)
	}
	copyPrograms(t, root, "bash", "mkdir", "mount", "insmod", "chroot", "sleep")
	for _, d := range []string{"proc", "sys", "dev", "m"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script := "#!/bin/bash\nexport PATH=/bin\nmount -n -t devtmpfs dev /dev\n"
	for i, m := range moduleOrder(t, modules) {
		name := fmt.Sprintf("/m/%02d-%s", i, filepath.Base(m))
		copyFile(t, filepath.Join(modules, m), filepath.Join(root, name))
		script += "insmod " + name + "\n"
	}
	// A container's pivot_root needs a root that is not the kernel's first one.
	script += "for i in 1 2 3 4 5 6 7 8 9 10; do [ -b /dev/vda ] && break; sleep 0.2; done\n" +
		"mount -n -t ext4 /dev/vda /disk && cd /disk && mount -n --move . / && exec chroot . /start\n"
	if err := os.WriteFile(filepath.Join(root, "init"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	initrd := filepath.Join(dir, "initrd.cpio")
	run(t, root, "sh", "-c", "find . -print0 | cpio --quiet -0 -o -H newc > "+initrd)
	return initrd
}

// moduleOrder lists the files of kernelModules with what they need, needed ones first. One that is built in is not there.
func moduleOrder(t *testing.T, modules string) []string {
	b, err := os.ReadFile(filepath.Join(modules, "modules.dep"))
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	seen := map[string]bool{}
	for _, want := range kernelModules {
		for line := range strings.Lines(string(b)) {
			name, needs, _ := strings.Cut(strings.TrimSpace(line), ":")
			if base, _, _ := strings.Cut(filepath.Base(name), ".ko"); base != want {
				continue
			}
			list := append([]string{name}, strings.Fields(needs)...) // the last one needs nothing of the others
			for i := len(list) - 1; i >= 0; i-- {
				if !seen[list[i]] {
					seen[list[i]] = true
					order = append(order, list[i])
				}
			}
		}
	}
	return order
}

// copyPrograms copies programs of the host, with their libraries, to bin of root.
func copyPrograms(t *testing.T, root string, names ...string) {
	for _, n := range names {
		src, err := exec.LookPath(n)
		if err != nil {
			t.Fatal(err)
		}
		copyFile(t, src, filepath.Join(root, "bin", n))
		out, _ := exec.Command("ldd", src).Output() // fails for scripts
		for _, f := range strings.Fields(string(out)) {
			if strings.HasPrefix(f, "/") {
				copyFile(t, f, filepath.Join(root, f))
			}
		}
	}
}

func copyFile(t *testing.T, src, dst string) {
	b, err := os.ReadFile(src)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(dst), 0o755)
	}
	if err == nil {
		err = os.WriteFile(dst, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, dir, name string, args ...string) {
	c := exec.Command(name, args...)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}
