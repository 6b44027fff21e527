package state

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/runner"
)

func open(t *testing.T) *Dir {
	t.Helper()
	d, err := Open(filepath.Join(t.TempDir(), "containers"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func create(t *testing.T, d *Dir, c *Container) *Handle {
	t.Helper()
	h, err := d.Create(c)
	if err == nil {
		err = h.Save()
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestLifeOfARecord(t *testing.T) {
	d := open(t)
	h := create(t, d, &Container{Name: "web", Keep: true})
	c, err := d.Find("web")
	if err != nil || !c.Running || c.ID != h.ID {
		t.Fatalf("found %+v, %v", c, err)
	}
	h.Close()
	if c, err = d.Find(h.ID[:5]); err != nil || c.Running {
		t.Fatalf("after the lock went: %+v, %v", c, err)
	}
	if err := h.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Await(h.ID); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("after removal: %v", err)
	}
}

func TestNames(t *testing.T) {
	d := open(t)
	defer create(t, d, &Container{Name: "web-1"}).Remove()
	var taken *TakenError
	if _, err := d.Create(&Container{Name: "web-1"}); !errors.As(err, &taken) {
		t.Errorf("a name twice: %v", err)
	}
	for _, name := range []string{"a", "-ab", "a/b", "../x", "a b", "ä1", "ab\n"} {
		var bad *NameError
		if _, err := d.Create(&Container{Name: name}); !errors.As(err, &bad) {
			t.Errorf("name %q: %v", name, err)
		}
	}
	for _, name := range []string{"web1", "wbe-1", "web-2", "web-11"} {
		var gone *NotFoundError
		if _, err := d.Find(name); !errors.As(err, &gone) || len(gone.Near) != 1 {
			t.Errorf("find %q: %v", name, err)
		}
	}
}

func process(t *testing.T, c *exec.Cmd) runner.Process {
	t.Helper()
	p, err := runner.ProcessOf(c.Process.Pid, -1)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestSweep: what neither monitor nor keeper looks after is ended; a process that merely has the number is not.
func TestSweep(t *testing.T) {
	d := open(t)
	left := exec.Command("sleep", "60")
	if err := left.Start(); err != nil {
		t.Fatal(err)
	}
	bystander := exec.Command("sleep", "60")
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = bystander.Process.Kill(); _ = bystander.Wait() }()
	mine, reused, booted, kept := &Container{}, &Container{}, &Container{}, &Container{Keep: true}
	mine.Mark(process(t, left))
	reused.Mark(process(t, bystander))
	reused.StartTime--
	booted.Mark(process(t, bystander))
	booted.BootID = "another"
	for _, c := range []*Container{mine, reused, booted, kept} {
		create(t, d, c).Close()
	}
	running := create(t, d, &Container{})
	defer running.Remove()
	if err := os.Mkdir(filepath.Join(d.Path, "0123456789ab"), 0o700); err != nil { // killed before the lock was made
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- left.Wait() }()
	if err := d.Sweep(); err != nil {
		t.Fatal(err)
	}
	<-done
	if err := unix.Kill(bystander.Process.Pid, 0); err != nil {
		t.Errorf("a process with a reused number: %v", err)
	}
	entries, _ := os.ReadDir(d.Path)
	if len(entries) != 3 { // lock, kept, running
		t.Errorf("left: %v", entries)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil {
		t.Error("a folder that all may write to was opened")
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(link); err == nil {
		t.Error("a link was opened")
	}
}

// TestSweepGroups: control groups go with the record of a container that nobody looks after; other folders do not.
func TestSweepGroups(t *testing.T) {
	d, groups := open(t), t.TempDir()
	mine, other := filepath.Join(groups, "rootctl-0123456789ab"), filepath.Join(groups, "other")
	for _, dir := range []string{mine, other} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	create(t, d, &Container{Name: "web", Cgroups: []string{mine, other}}).Close()
	if err := d.Sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(mine); err == nil {
		t.Error("a control group is left")
	}
	if _, err := os.Stat(other); err != nil {
		t.Error(err)
	}
}
