package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rootctl/rootctl/internal/container"
	"github.com/rootctl/rootctl/internal/runner"
	"github.com/rootctl/rootctl/internal/runner/state"
)

// TestExecVerb joins a container of the real runner by its record.
func TestExecVerb(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: containers are made with namespaces and mounts")
	}
	root := t.TempDir()
	for _, d := range []string{"proc", "sys", "dev", "etc", "srv"} {
		if err := os.Mkdir(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "etc/passwd"), []byte("root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/srv:/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir, err := state.Open(container.RecordsPath(os.Getenv, 0))
	if err != nil {
		t.Fatal(err)
	}
	record := &state.Container{Name: "exec-test"}
	h, err := dir.Create(record)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Remove()
	// The host's programs, so that the root needs none of its own.
	binds := []runner.Bind{}
	for _, d := range []string{"/usr", "/lib", "/lib64", "/bin"} {
		if _, err := os.Stat(d); err == nil {
			binds = append(binds, runner.Bind{Src: d, ReadOnly: true})
		}
	}
	ids, lock, err := runner.ClaimIDs(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	record.Spec = runner.Spec{Lower: []string{root}, IDs: ids, Binds: binds, Argv: []string{"sh", "-c", "while :; do sleep 100; done"},
		Env: []string{"PATH=/usr/bin:/bin"}}
	ctx, cancel := context.WithCancel(t.Context())
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		_, err := runner.Run(ctx, record.Spec, runner.Options{Started: func(p runner.Process) error {
			record.Started = record.Created.Add(1)
			record.PID, record.StartTime, record.PidfdInode, record.BootID = p.PID, p.StartTime, p.PidfdInode, state.BootID()
			err := h.Save()
			started <- err
			return err
		}})
		if err != nil {
			started <- err
		}
	}()
	defer func() { cancel(); <-ended }()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"exec-test", "sh", "-c", "echo $HOME; hostname; exit 7"}, 7, "/root\nrootctl\n"},
		{[]string{"--user", "ann", "--workdir", "/srv", "--env", "A=b", record.ID[:6], "--", "sh", "-c", "id -u; pwd; echo $USER $HOME $A"}, 0, "1000\n/srv\nann /srv b\n"},
		{[]string{"--user", "bob", "exec-test", "true"}, 125, "no user"},
		{[]string{"exec-test", "nowhere"}, 127, "not found"},
		{[]string{"exec-test"}, 125, "no command"},
		{[]string{"exec-tesst", "true"}, 125, "did you mean exec-test?"},
	} {
		cmd := exec.Command("rootctl", append([]string{"exec"}, x.args...)...)
		cmd.Env = append(os.Environ(), "ROOTCTL_CACHE="+t.TempDir())
		out, err := cmd.CombinedOutput()
		code := cmd.ProcessState.ExitCode()
		if code != x.code || !strings.Contains(string(out), x.want) {
			t.Errorf("%v: code %d, want %d (%v)\n%s", x.args, code, x.code, err, out)
		}
	}
}
