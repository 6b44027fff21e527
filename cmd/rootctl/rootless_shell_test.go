package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// testShell has the user's shell do what --print-plan=shell prints.
func (o *ordinary) testShell(t *testing.T) {
	look := `echo $$ $(id -u); stat -c %u:%g /var/mail; echo x >/tmp/x && echo y >/new && cat /new; readlink /proc/self/ns/net`
	lines := o.must(t, "run", "-q", "--print-plan=shell", "fixture", "sh", "-c", look)
	dir := filepath.Join(o.home, "shell")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, o.uid, o.gid); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("timeout", "20", "sh")
	c.Dir, c.Env = o.home, []string{"HOME=" + o.home, "PATH=/usr/bin:/bin:/usr/sbin:/sbin", "TMPDIR=" + dir}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(o.uid), Gid: uint32(o.gid)}}
	c.Stdin = strings.NewReader(lines)
	out, errs, code := outcome(t, c)
	owner := "0:8"
	if o.ranges.Single() {
		owner = "0:0"
	}
	host, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if code != 0 || !strings.HasPrefix(out, "1 0\n"+owner+"\ny\nnet:") || strings.Contains(out, host) {
		t.Errorf("exit code %d\n%s%s\n%s", code, out, errs, lines)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
