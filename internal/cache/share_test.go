package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// taskCount adds 20 to a number that a ref holds.
func taskCount(s *Store, _ []string) error {
	for n := 0; n < 20; {
		r, err := s.Ref("count")
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		old := r.Root
		v, _ := strconv.Atoi(string(r.Info))
		next := fmt.Sprint(v + 1)
		err = s.SetRef(Ref{Name: "count", Root: Sum([]byte(next)), Info: []byte(next)}, &old)
		var lost *RefError
		switch {
		case err == nil:
			n++
		case !errors.As(err, &lost):
			return err
		}
	}
	return nil
}

func TestRefsCompareAndSwap(t *testing.T) {
	s := open(t)
	var cs []*exec.Cmd
	for range 8 {
		c := process("count", s.Dir())
		c.Stdout = os.Stdout
		must(t, c.Start())
		cs = append(cs, c)
	}
	for _, c := range cs {
		must(t, c.Wait())
	}
	r, err := s.Ref("count")
	must(t, err)
	if string(r.Info) != "160" {
		t.Errorf("count is %s, not 160", r.Info)
	}
}

func TestManyOpenersOfNewCache(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a/b/cache")
	var cs []*exec.Cmd
	for range 16 {
		c := process("open", dir)
		c.Stdout = os.Stdout
		must(t, c.Start())
		cs = append(cs, c)
	}
	for _, c := range cs {
		must(t, c.Wait())
	}
	checkStore(t, dir)
}

// taskHold makes a temporary folder and a root, starts a keeper that inherits both locks, says so and
// waits to be killed.
func taskHold(s *Store, _ []string) error {
	t, err := s.Temp()
	if err != nil {
		return err
	}
	l, err := build(context.Background(), s, "held")
	if err != nil {
		return err
	}
	c := process("sleep", s.Dir())
	c.ExtraFiles = []*os.File{t.LockFile(), l.LockFile()}
	if err := c.Start(); err != nil {
		return err
	}
	fmt.Println(c.Process.Pid, l.Root)
	select {}
}

func taskSleep(*Store, []string) error {
	time.Sleep(time.Minute)
	return nil
}

func TestKeeperHoldsLocks(t *testing.T) {
	s := open(t)
	c := process("hold", s.Dir())
	pipe, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	var pid int
	var root Digest
	_, err = fmt.Fscan(pipe, &pid, &root)
	must(t, err)
	must(t, c.Process.Kill())
	c.Wait()
	n, err := s.Sweep()
	if n != 0 || err != nil || len(litter(t, s)) != 2 {
		t.Errorf("keeper alive: swept %d, %v, litter %q", n, err, litter(t, s))
	}
	if err := s.Remove(root); !errors.Is(err, ErrBusy) {
		t.Errorf("keeper alive: Remove: %v", err)
	}
	keeper, err := os.FindProcess(pid)
	must(t, err)
	must(t, keeper.Kill())
	for end := time.Now().Add(5 * time.Second); n != 1 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
		n, err = s.Sweep()
		must(t, err)
	}
	must(t, s.Remove(root))
	checkStore(t, s.Dir())
}
