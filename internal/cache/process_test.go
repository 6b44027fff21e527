package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// Races and crashes are those of processes: the test binary starts itself with a task.

const taskEnv = "ROOTCTL_CACHE_TEST_TASK"

var tasks = map[string]func(s *Store, args []string) error{
	"open":     func(*Store, []string) error { return nil },
	"work":     taskWork,
	"evict":    taskEvict,
	"collect":  taskCollect,
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
		s.settleAfter = time.Duration(rand.IntN(20)) * time.Millisecond // so that roots come to last now and then
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
	return buildBy(ctx, s, name, rand.IntN(2) == 0)
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
	sl, err := s.LockStore(ctx)
	if err != nil {
		return err
	}
	defer sl.Close()
	err = s.Ensure(ctx, d, int64(len(content)), func(ctx context.Context, p *Part) error {
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
				err = s.StoreRelease(name, []byte(name), nil)
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

// taskCollect collects with any bounds until it is killed.
func taskCollect(s *Store, _ []string) error {
	ctx := context.Background()
	for {
		o := CollectOptions{Wait: time.Duration(rand.IntN(20)) * time.Millisecond, DryRun: rand.IntN(5) == 0}
		switch rand.IntN(4) {
		case 0:
			o.All = true
		case 1:
			o.MaxSize = 1
		case 2:
			o.MaxAge = 1
		}
		got, err := s.Collect(ctx, o)
		if err != nil && !errors.Is(err, ErrBusy) {
			return err
		}
		if err == nil && !o.DryRun {
			for _, i := range got.Removed {
				if i.Kind == KindRoot {
					fmt.Println("evicted")
				}
			}
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
