package cache

import (
	"bufio"
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// soak is how long the random kills go on: $ROOTCTL_SOAK, or a short while.
func soak(t *testing.T) time.Duration {
	d, err := time.ParseDuration(os.Getenv("ROOTCTL_SOAK"))
	if err != nil {
		return 6 * time.Second
	}
	t.Logf("soaking for %v", d)
	return d
}

// A tally counts what processes print.
type tally struct {
	sync.Mutex
	kills, used, evicted int
	bad                  []string
}

// run lets c go until it ends or kill has passed, and notes what it said.
func (y *tally) run(c *exec.Cmd, kill time.Duration) {
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		y.Lock()
		y.bad = append(y.bad, err.Error())
		y.Unlock()
		return
	}
	timer := time.AfterFunc(kill, func() { c.Process.Kill() })
	c.Wait()
	killed := !timer.Stop()
	y.Lock()
	defer y.Unlock()
	if killed {
		y.kills++
	}
	y.used += strings.Count(out.String(), "used\n")
	y.evicted += strings.Count(out.String(), "evicted\n")
	for line := range strings.Lines(out.String()) {
		if line != "used\n" && line != "evicted\n" {
			y.bad = append(y.bad, line)
		}
	}
}

func TestKilledAtRandom(t *testing.T) {
	s := open(t)
	end := time.Now().Add(soak(t))
	var y tally
	var wg sync.WaitGroup
	loop := func(start func() (*exec.Cmd, time.Duration)) {
		wg.Go(func() {
			for time.Now().Before(end) {
				y.run(start())
			}
		})
	}
	for range 5 {
		loop(func() (*exec.Cmd, time.Duration) {
			return process("work", s.Dir(), "10s"), time.Duration(rand.IntN(250)) * time.Millisecond
		})
	}
	loop(func() (*exec.Cmd, time.Duration) { return process("work", s.Dir(), "1s"), time.Minute })
	for _, task := range []string{"evict", "collect", "collect"} {
		loop(func() (*exec.Cmd, time.Duration) {
			return process(task, s.Dir()), time.Duration(20+rand.IntN(200)) * time.Millisecond
		})
	}
	wg.Wait()
	t.Logf("%d kills, %d uses, %d evictions", y.kills, y.used, y.evicted)
	for _, b := range y.bad {
		t.Error(strings.TrimSpace(b))
	}
	if y.kills < 10 || y.used == 0 || y.evicted == 0 {
		t.Errorf("too little happened")
	}
	checkStore(t, s.Dir())
}

// checkStore opens the cache anew, sweeps it, and looks at everything in it.
func checkStore(t *testing.T, dir string) {
	t.Helper()
	ctx := context.Background()
	s, err := Open(dir, Options{})
	must(t, err)
	for range 2 { // the first leaves the parts of downloads
		_, err = s.Sweep()
		must(t, err)
	}
	if left := litter(t, s); len(left) > 0 {
		t.Errorf("litter: %q", left)
	}
	roots := map[Digest]bool{}
	list, err := s.Roots()
	must(t, err)
	for _, r := range list {
		roots[r.Digest] = true
		l, err := s.Lease(ctx, r.Digest)
		must(t, err)
		m, err := l.Manifest()
		must(t, err)
		if diffs, err := m.Verify(ctx, l.Tree); err != nil || len(diffs) > 0 {
			t.Errorf("root %s: %q %v", r.Digest, diffs, err)
		}
		l.Close()
	}
	for _, folder := range []string{"roots", "use", "locks"} {
		names, err := s.listDir(folder)
		must(t, err)
		for _, name := range names {
			d := rootNamed(name)
			if d.Valid() && !roots[d] {
				t.Errorf("left over: %s/%s", folder, name)
			}
		}
	}
	for _, folder := range []string{"actions", "refs", "releases"} {
		names, err := s.listDir(folder)
		must(t, err)
		for _, name := range names {
			if _, err := s.readRecord(folder, name); err != nil {
				t.Errorf("%s/%s: %v", folder, name, err)
			}
		}
	}
	names, err := s.listDir("dl/sha256")
	must(t, err)
	for _, name := range names {
		must(t, s.VerifyDownload(ctx, Digest(name)))
	}
}

func TestManyBuildersOfOneKey(t *testing.T) {
	s := open(t)
	outs := make([]bytes.Buffer, 16)
	var cs []*exec.Cmd
	for i := range outs {
		c := process("once", s.Dir(), "200ms")
		c.Stdout = &outs[i]
		must(t, c.Start())
		cs = append(cs, c)
	}
	all := ""
	for i, c := range cs {
		if err := c.Wait(); err != nil {
			t.Errorf("%v: %s", err, &outs[i])
		}
		all += outs[i].String()
	}
	if n := strings.Count(all, "building\n"); n != 1 {
		t.Errorf("%d builds", n)
	}
	if n := strings.Count(all, "root "); n != 16 {
		t.Errorf("%d roots:\n%s", n, all)
	}
	checkStore(t, s.Dir())
}

// A builder is killed; one of those who wait takes over.
func TestKilledBuilderIsReplaced(t *testing.T) {
	s := open(t)
	first := process("once", s.Dir(), "1h")
	pipe, err := first.StdoutPipe()
	must(t, err)
	must(t, first.Start())
	if line, err := bufio.NewReader(pipe).ReadString('\n'); line != "building\n" {
		t.Fatalf("%q %v", line, err)
	}
	outs := make([]bytes.Buffer, 4)
	var cs []*exec.Cmd
	for i := range outs {
		c := process("once", s.Dir(), "50ms")
		c.Stdout = &outs[i]
		must(t, c.Start())
		cs = append(cs, c)
	}
	time.Sleep(100 * time.Millisecond)
	must(t, first.Process.Kill())
	first.Wait()
	all := ""
	for i, c := range cs {
		if err := c.Wait(); err != nil {
			t.Errorf("%v: %s", err, &outs[i])
		}
		all += outs[i].String()
	}
	if strings.Count(all, "building\n") != 1 || strings.Count(all, "root ") != 4 {
		t.Errorf("after the kill:\n%s", all)
	}
	checkStore(t, s.Dir())
}
