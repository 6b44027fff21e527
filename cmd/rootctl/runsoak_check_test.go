package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
	"github.com/rootctl/rootctl/internal/runner/state"
)

// newRunSoak builds a root that has setpriv.
func newRunSoak(t *testing.T) *runSoak {
	t.Helper()
	archive := testarchive.HostArchive(t, "bionic")
	archive.Add(withSetpriv(t, archive.Packages()))
	f := fixtureOf(t, archive)
	f.args = append([]string{"build", "--include", "setpriv"}, f.args[1:]...)
	s := &runSoak{natWorld: newNatWorld(t, f), records: filepath.Join(t.TempDir(), "containers"),
		mark: fmt.Sprint(3000000 + os.Getpid()), count: map[string]int{}, groups: map[string]bool{}}
	t.Setenv("ROOTCTL_STATE", s.records)
	s.build(t, s.cache)
	err := inThread(func() error {
		err := errors.Join(unix.Unshare(unix.CLONE_FS|unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			os.MkdirAll("/run/rootctl", 0o755), unix.Mount("soak", "/run/rootctl", "tmpfs", 0, "mode=755"))
		if err != nil {
			return err
		}
		s.mounts, err = os.Open("/proc/thread-self/ns/mnt")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.mounts.Close() })
	return s
}

// withSetpriv is the host's own, with the libraries that no other package has.
func withSetpriv(t *testing.T, others []testarchive.Package) testarchive.Package {
	t.Helper()
	program, err := exec.LookPath("setpriv")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, p := range others {
		for _, f := range p.Files {
			have[filepath.Base(f.Name)] = true
		}
	}
	p := testarchive.Package{Name: "setpriv", Fields: map[string]string{"Priority": "optional", "Depends": "libc6"}}
	for _, file := range append(strings.Fields(string(out)), program) {
		if !strings.HasPrefix(file, "/") || have[filepath.Base(file)] {
			continue
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(file, "/")
		if file == program {
			name = "usr/bin/setpriv"
		}
		p.Files = append(p.Files, testarchive.File{Name: name, Body: string(b), Mode: 0o755})
	}
	return p
}

// inThread runs f on a thread that ends with it.
func inThread(f func() error) error {
	ch := make(chan error)
	go func() {
		runtime.LockOSThread()
		ch <- f()
	}()
	return <-ch
}

// at does something on a thread that has this world's network and /run/rootctl. Processes started there have them.
func (s *runSoak) at(f func() error) error {
	return inThread(func() error {
		err := errors.Join(unix.Unshare(unix.CLONE_FS), netns.Set(s.host), unix.Setns(int(s.mounts.Fd()), unix.CLONE_NEWNS))
		if err != nil {
			return err
		}
		return f()
	})
}

// network is all that a nat container adds to.
func (s *runSoak) network(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	err := s.at(func() error {
		rules, err := exec.Command("nft", "-s", "list", "ruleset").Output()
		forward, err2 := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
		links, err3 := netlink.LinkList()
		fmt.Fprintf(&b, "%sip_forward %s", rules, forward)
		for _, l := range links {
			fmt.Fprintln(&b, "link", l.Attrs().Name)
		}
		return errors.Join(err, err2, err3)
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// see waits until the two processes of the script that are hard to end run, and counts them.
func (s *runSoak) see(t *testing.T, mark string) {
	ids, n := map[string]bool{}, 0
	for end := time.Now().Add(20 * time.Second); n < 3 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		ids, n = map[string]bool{}, 0
		names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, name := range names {
			if b, _ := os.ReadFile(name); string(b) == "sleep\x00"+mark+"\x00" {
				status, _ := os.ReadFile(filepath.Join(filepath.Dir(name), "status"))
				_, line, _ := strings.Cut(string(status), "\nUid:\t")
				uid, _, _ := strings.Cut(line, "\t")
				ids[uid] = true
				n++
			}
		}
	}
	if n != 3 || len(ids) != 2 { // root inside, and user 1000 inside
		t.Errorf("%d processes with the mark, of users %v", n, ids)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count["another user's process"] += len(ids) - 1
	s.count["cleared parent-death signal"] += n - 2
}

// note remembers the control groups of the containers, and what they have.
func (s *runSoak) note(net, limits bool) {
	list, _ := (&state.Dir{Path: s.records}).List() // some come and go
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range list {
		for _, g := range c.Cgroups {
			s.groups[g] = true
		}
	}
	if net {
		s.count["nat"]++
	}
	if limits {
		s.count["limits"]++
	}
}

// fixedFiles are those of /run/rootctl that stay: a lock of each block of ids that was ever in use at once, and of the
// networks' claims.
var fixedFiles = regexp.MustCompile(`^/run/rootctl/(ids/(1?[0-9]|2[0-9])|net/[^/]+/lock|net/lock|lock)$`)

// checkNothing gives the keepers a moment.
func (s *runSoak) checkNothing(t *testing.T, network string) {
	t.Helper()
	var left []string
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if left = append(s.leftFiles(t), s.leftElsewhere(t, network)...); len(left) == 0 {
			s.groups = map[string]bool{}
			return
		}
	}
	t.Errorf("left behind: %q", left)
}

func (s *runSoak) leftElsewhere(t *testing.T, network string) []string {
	left := s.processes(t, s.cache)
	cmdlines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range cmdlines {
		if b, _ := os.ReadFile(f); strings.Contains(string(b), s.mark) {
			left = append(left, f+": "+string(b))
		}
	}
	for g := range s.groups {
		if _, err := os.Stat(g); err == nil {
			left = append(left, g)
		}
	}
	if b, _ := os.ReadFile("/proc/self/mounts"); strings.Contains(string(b), s.cache) {
		left = append(left, "mounts: "+string(b))
	}
	if now := s.network(t); now != network {
		left = append(left, "network: "+now)
	}
	return left
}

// leftFiles are copies, records, and locks that are held or more than there can be.
func (s *runSoak) leftFiles(t *testing.T) []string {
	left := leftFiles(t, s.cache)
	if len(left) > 0 { // a layer half made, which the first run of a cache does before it has a keeper: the next sweep's
		s.count["half a layer, swept"]++
		sweep(t, s.cache)
		left = leftFiles(t, s.cache)
	}
	for _, p := range []string{s.records + "/*/*", s.cache + "/scratch/*/u/*", s.cache + "/scratch/*.kept"} {
		found, _ := filepath.Glob(p)
		left = append(left, found...)
	}
	if locks, _ := filepath.Glob(s.cache + "/scratch/*.lock"); len(locks) > 24 {
		left = append(left, locks...)
	}
	err := s.at(func() error {
		return filepath.WalkDir("/run/rootctl", func(p string, d fs.DirEntry, err error) error {
			switch {
			case err != nil || d.IsDir():
			case !fixedFiles.MatchString(p):
				left = append(left, p)
			case lockHeld(p):
				left = append(left, "held: "+p)
			}
			return err
		})
	})
	if err != nil {
		t.Error(err)
	}
	return left
}

func lockHeld(name string) bool {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return true
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil
}
