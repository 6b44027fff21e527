package main

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// TestSoak lets processes of rootctl do everything at once in one cache and ends most of them by SIGKILL at random
// moments. Every so often all stand still and the cache is looked through: it must open, list and hold the bytes of
// undisturbed builds, and once garbage is collected there must be nothing in it that its layout does not name.
//
// $ROOTCTL_SOAK_KILLS is how many processes are killed; $ROOTCTL_SOAK_SEED repeats the choice of verbs and moments.
func TestSoak(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	kills, sets, workers := 60, 6, 4
	if v := os.Getenv("ROOTCTL_SOAK_KILLS"); v != "" {
		kills, _ = strconv.Atoi(v)
		sets = min(32, 6+kills/50)
	}
	s := newSoak(t, sets)
	start := time.Now()
	for s.killed() < kills && !t.Failed() {
		s.round(t, workers, min(40, kills-s.killed()))
		s.check(t, 2)
		if s.checks%10 == 0 {
			t.Log(s.total())
		}
	}
	s.check(t, 1000)
	t.Logf("seed %d: %s in %.0f s\n%s", s.seed, s.total(), time.Since(start).Seconds(), s.table())
	if s.killed() < kills {
		t.Errorf("%d kills of %d", s.killed(), kills)
	}
	for _, v := range s.verbs {
		if n := s.counts[v.name]; kills >= 1000 && (n == nil || n.ended == 0 || n.killed == 0) {
			t.Errorf("%s: too little happened", v.name)
		}
	}
}

// soak is one cache, what must come of it, and what has happened to it.
type soak struct {
	*fixture
	dir   string // the cache
	out   string // beside it: what exports write
	seed  uint64
	want  []soakRoot
	verbs []soakVerb

	mu                                 sync.Mutex
	counts                             map[string]*soakCount
	begun                              int // processes; each has a random sequence of its own
	wrong, broken, litter, checks, red int
}

// soakRoot is one undisturbed root.
type soakRoot struct {
	name, include, digest, text string
	file                        string // an export of it
}

// soakCount counts the processes of one verb: those that were killed, ended well, and said that something is missing.
type soakCount struct {
	killed, ended, missed int
	typical               time.Duration
}

// newSoak makes an archive of small packages and builds each selection of them once, in peace.
func newSoak(t *testing.T, sets int) *soak {
	t.Helper()
	archive := testarchive.HostArchive(t, "bionic")
	var names []string
	for i := range soakPackages {
		n := fmt.Sprint("soak", i)
		names = append(names, n)
		archive.Add(testarchive.Package{Name: n, Arch: "all", Files: []testarchive.File{{Name: "usr/share/soak/" + n, Body: n + "\n"}}})
	}
	server := archive.Serve(t)
	s := &soak{dir: filepath.Join(t.TempDir(), "cache"), out: t.TempDir(), counts: map[string]*soakCount{}, seed: uint64(time.Now().UnixNano())}
	s.fixture = &fixture{self: ownCopy(t), server: server,
		args: []string{"--mirror", server.URL, "--only-mirror", "--keyring", keyFile(t, archive.Key), "bionic"}}
	if v := os.Getenv("ROOTCTL_SOAK_SEED"); v != "" {
		s.seed, _ = strconv.ParseUint(v, 10, 64)
	}
	calm := filepath.Join(t.TempDir(), "calm")
	for i := range sets {
		r := soakRoot{name: fmt.Sprint("s", i)}
		var include []string
		for j, n := range names {
			if (i+1)>>j&1 == 1 {
				include = append(include, n)
				r.text += n + "\n"
			}
		}
		if r.include = strings.Join(include, ","); r.include == "" {
			r.include = "hello"
		}
		out, err := s.command(calm, append([]string{"build", "-q", "--include", r.include}, s.args...)...).Output()
		if err != nil {
			t.Fatalf("build of %s: %v", r.include, err)
		}
		r.digest = strings.TrimSpace(string(out))
		s.want = append(s.want, r)
	}
	s.verbs = soakVerbs()
	s.prepare(t, calm)
	return s
}

// soakPackages are what the roots differ by.
const soakPackages = 5

// round lets workers start processes until so many more have been killed, and waits for all of them.
func (s *soak) round(t *testing.T, workers, kills int) {
	goal := s.killed() + kills
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for s.killed() < goal && !t.Failed() {
				s.one(t)
			}
		})
	}
	wg.Wait()
}

// one starts one process of a random verb and kills it at a random moment, or lets it end.
func (s *soak) one(t *testing.T) {
	s.mu.Lock()
	r := rand.New(rand.NewPCG(s.seed, uint64(s.begun)))
	s.begun++
	v := s.pick(r)
	n := s.counts[v.name]
	if n == nil {
		n = &soakCount{typical: v.typical}
		s.counts[v.name] = n
	}
	kill := time.Duration(r.Int64N(int64(n.typical) * 6 / 5))
	if r.IntN(2) == 0 { // what takes long is mostly waiting for others
		kill = time.Duration(r.Int64N(int64(v.typical)))
	}
	s.mu.Unlock()
	if r.IntN(6) == 0 {
		kill = time.Minute
	}
	args, judge := v.make(s, r)
	c := s.command(s.dir, args...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	start := time.Now()
	if err := c.Start(); err != nil {
		t.Error(err)
		return
	}
	timer := time.AfterFunc(kill, func() { _ = c.Process.Kill() })
	err := c.Wait()
	took := time.Since(start)
	timer.Stop()
	status := c.ProcessState.Sys().(syscall.WaitStatus)
	s.note(t, n, args, ended{out: out.String(), errs: errs.String(), code: c.ProcessState.ExitCode(), killed: status.Signaled() && status.Signal() == syscall.SIGKILL, err: err}, took, judge)
}

// ended is how a process went.
type ended struct {
	out, errs string
	code      int
	killed    bool
	err       error
}

// note counts one process, and says what it must not have done.
func (s *soak) note(t *testing.T, n *soakCount, args []string, e ended, took time.Duration, judge func(ended) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := "rootctl " + strings.Join(args, " ")
	if strings.Contains(e.errs, "panic:") || strings.Contains(e.errs, "goroutine ") {
		s.broken++
		t.Errorf("%s: panicked\n%s", line, e.errs)
	}
	switch {
	case e.killed && took > time.Minute:
		s.broken++
		t.Errorf("%s: did not end within a minute\n%s", line, e.errs)
	case e.killed:
		n.killed++
	case e.code == 0:
		n.ended++
		if took > n.typical/2 { // not a hit among misses
			n.typical = (3*n.typical + took) / 4
		}
	case soakMissing(e.errs):
		n.missed++
		return
	default:
		s.broken++
		t.Errorf("%s: exit code %d\n%s", line, e.code, e.errs)
		return
	}
	if judge == nil {
		return
	}
	if wrong := judge(e); wrong != "" {
		s.wrong++
		t.Errorf("%s: wrong bytes: %s\n%s", line, wrong, e.errs)
	}
}

// soakMissing tells of errors that come of what the other processes do: what was named has gone.
func soakMissing(errs string) bool {
	for _, part := range []string{"no root of that name is in the cache", "not in the cache", "no suite is called", "another collection of this cache is under way", "is no longer in the cache"} {
		if strings.Contains(errs, part) {
			return true
		}
	}
	return false
}

func (s *soak) pick(r *rand.Rand) soakVerb {
	sum := 0
	for _, v := range s.verbs {
		sum += v.weight
	}
	at := r.IntN(sum)
	for _, v := range s.verbs {
		if at -= v.weight; at < 0 {
			return v
		}
	}
	panic("weights")
}

func (s *soak) killed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := 0
	for _, n := range s.counts {
		sum += n.killed
	}
	return sum
}

func (s *soak) total() string {
	ended := 0
	for _, n := range s.counts {
		ended += n.ended
	}
	return fmt.Sprintf("%d kills, %d processes that ended well, %d checks with %d roots read; %d wrong bytes, %d broken opens, %d litter",
		s.killed(), ended, s.checks, s.red, s.wrong, s.broken, s.litter)
}

// table has one line a verb.
func (s *soak) table() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.counts)) {
		n := s.counts[name]
		fmt.Fprintf(&b, "%-10s %5d killed %5d ended %5d found nothing, takes %d ms\n", name, n.killed, n.ended, n.missed, n.typical.Milliseconds())
	}
	return b.String()
}
