package cache

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Races and crashes are those of processes: the test binary starts itself with a task.

const taskEnv = "ROOTCTL_CACHE_TEST_TASK"

var tasks = map[string]func(s *Store, args []string) error{
	"open":     func(*Store, []string) error { return nil },
	"work":     taskWork,
	"evict":    taskEvict,
	"once":     taskOnce,
	"count":    taskCount,
	"hold":     taskHold,
	"sleep":    taskSleep,
	"readonly": taskReadOnly,
	"full":     taskFull,
}

func TestMain(m *testing.M) {
	task := os.Getenv(taskEnv)
	if task == "" {
		os.Exit(m.Run())
	}
	s, err := Open(os.Args[1], Options{})
	if err == nil {
		err = tasks[task](s, os.Args[2:])
	}
	if err != nil {
		fmt.Println("FAILED", task, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func process(task, dir string, args ...string) *exec.Cmd {
	c := exec.Command("/proc/self/exe", append([]string{dir}, args...)...)
	c.Env = append(os.Environ(), taskEnv+"="+task)
	return c
}

// get leases the root called name, built if need be, as "rootctl run" does.
func get(ctx context.Context, s *Store, name string, building func()) (*Lease, error) {
	look := func() (*Lease, error) {
		var d Digest
		if ok, err := s.LoadAction(Sum([]byte(name)), &d); !ok || err != nil {
			return nil, err
		}
		l, err := s.Lease(ctx, d)
		if errors.Is(err, ErrNotFound) {
			return nil, nil
		}
		return l, err
	}
	if l, err := look(); l != nil || err != nil {
		return l, err
	}
	st, err := s.LockStore(ctx)
	if err != nil {
		return nil, err
	}
	defer st.Close()
	k, err := s.LockKey(ctx, Sum([]byte(name)), nil)
	if err != nil {
		return nil, err
	}
	defer k.Close()
	if l, err := look(); l != nil || err != nil {
		return l, err
	}
	building()
	return build(ctx, s, name)
}

// whole reads a leased root through, slowly enough to be evicted under way if leases did not work.
func whole(ctx context.Context, l *Lease, name string) error {
	for i := range 30 {
		b, err := os.ReadFile(fmt.Sprintf("%s/usr/bin/%d", l.Tree, i))
		if err != nil || string(b) != fmt.Sprint(name, i) {
			return fmt.Errorf("BROKEN root %s: %q %v", l.Root, b, err)
		}
		time.Sleep(100 * time.Microsecond)
	}
	m, err := l.Manifest()
	if err != nil {
		return fmt.Errorf("BROKEN %w", err)
	}
	if diffs, err := m.Verify(ctx, l.Tree); err != nil || len(diffs) > 0 {
		return fmt.Errorf("BROKEN root %s: %q %v", l.Root, diffs, err)
	}
	return nil
}

// fetch downloads made-up content in pieces and reads it back.
func fetch(ctx context.Context, s *Store, n int, pause time.Duration) error {
	content := bytes.Repeat([]byte{byte(n)}, 5000+n*1000)
	d := Sum(content)
	err := s.Ensure(ctx, d, int64(len(content)), func(ctx context.Context, p *Part) error {
		for p.Offset() < p.Size() {
			if _, err := p.Write(content[p.Offset():min(p.Offset()+1000, p.Size())]); err != nil {
				return err
			}
			time.Sleep(pause)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.VerifyDownload(ctx, d); err != nil {
		return fmt.Errorf("BROKEN %w", err)
	}
	return nil
}

// taskWork does everything at random, until it is killed or for a time.
func taskWork(s *Store, args []string) error {
	ctx := context.Background()
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	for end := time.Now().Add(d); time.Now().Before(end); {
		name := "root" + strconv.Itoa(rand.IntN(5))
		switch rand.IntN(4) {
		case 0:
			err = fetch(ctx, s, rand.IntN(20), time.Millisecond)
		case 1:
			r := Ref{Name: name, Root: Sum([]byte(name))}
			if err = s.SetRef(r, nil); err == nil {
				err = s.StoreRelease(name, []byte(name))
			}
		case 2:
			_, err = s.Sweep()
		default:
			var l *Lease
			if l, err = get(ctx, s, name, func() {}); err == nil {
				fmt.Println("used")
				err = whole(ctx, l, name)
				l.Close()
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// taskEvict removes roots and sweeps until it is killed.
func taskEvict(s *Store, _ []string) error {
	for {
		roots, err := s.Roots()
		if err != nil {
			return err
		}
		for _, r := range roots {
			switch err := s.Remove(r.Digest); {
			case err == nil:
				fmt.Println("evicted")
			case !errors.Is(err, ErrBusy):
				return err
			}
		}
		if _, err := s.Sweep(); err != nil {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func taskOnce(s *Store, args []string) error {
	pause, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	l, err := get(context.Background(), s, "only", func() {
		fmt.Println("building")
		time.Sleep(pause)
	})
	if err != nil {
		return err
	}
	fmt.Println("root", l.Root)
	return whole(context.Background(), l, "only")
}

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
	for range 2 {
		loop(func() (*exec.Cmd, time.Duration) {
			return process("evict", s.Dir()), time.Duration(20+rand.IntN(200)) * time.Millisecond
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
			d := Digest(strings.TrimSuffix(strings.TrimPrefix(name, "root-"), ".mtree"))
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
