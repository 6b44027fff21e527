package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache"
)

// carrying is a cache of three roots, and the file that they travel in.
type carrying struct {
	*faulty
	tmp   string // in memory: nothing here is about what survives a power cut
	file  string
	bytes []byte
	want  map[string]cache.Digest // by name
	r     *rand.Rand
}

func newCarrying(t *testing.T) *carrying {
	t.Helper()
	seed := uint64(short("ROOTCTL_SOAK_SEED", int(time.Now().UnixNano())))
	t.Logf("ROOTCTL_SOAK_SEED=%d", seed)
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds, mounts and containers")
	}
	f := newFixture(t)
	c := &carrying{tmp: filepath.Join(t.TempDir(), "memory"), r: rand.New(rand.NewPCG(seed, 0))}
	mountSmall(t, c.tmp, "size=2g")
	c.faulty = &faulty{&real{f, filepath.Join(c.tmp, "source")}, f.args[1:6]}
	c.file = filepath.Join(c.tmp, "file")
	c.must(t, c.build("one")...)
	c.must(t, c.build("two", "--include", "hello")...)
	c.must(t, c.build("three", "--variant", "apt")...)
	c.must(t, "cache", "save", "-q", c.file)
	var err error
	if c.bytes, err = os.ReadFile(c.file); err != nil {
		t.Fatal(err)
	}
	if c.want = namesIn(t, c.dir); len(c.want) != 3 {
		t.Fatalf("names: %v", c.want)
	}
	return c
}

// TestCarry has roots travel in a file of cache save under what may go wrong. $ROOTCTL_SOAK_SEED repeats its random places.
func TestCarry(t *testing.T) {
	c := newCarrying(t)
	t.Run("killed restores", c.killedRestores)
	t.Run("collected", c.collected)
	t.Run("killed saves", c.killedSaves)
	t.Run("damaged", c.damaged)
	t.Run("full disk", c.fullDisk)
	t.Run("together", c.together)
	t.Run("rootless", c.rootless)
}

// folder is a new one.
func (c *carrying) folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(c.tmp, "")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// namesIn are the names in a cache whose roots are there; others are errors.
func namesIn(t *testing.T, dir string) map[string]cache.Digest {
	t.Helper()
	out := map[string]cache.Digest{}
	if _, err := os.Stat(filepath.Join(dir, "VERSION")); errors.Is(err, fs.ErrNotExist) {
		return out // killed before it was made
	}
	s, err := cache.Open(dir, cache.Options{})
	if err != nil {
		t.Fatalf("the cache does not open: %v", err)
	}
	refs, err := s.Refs()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range refs {
		if out[r.Name] = r.Root; !s.HasRoot(r.Root) {
			t.Errorf("%s is the name of a root that is not there", r.Name)
		}
	}
	return out
}

// whole says that a cache has what the file brings, and that nothing else is left.
func (c *carrying) whole(t *testing.T, dir, when string) {
	t.Helper()
	c.sound(t, dir, when)
	c.checkLeft(t, dir, when)
}

func (c *carrying) sound(t *testing.T, dir, when string) {
	t.Helper()
	if got := namesIn(t, dir); fmt.Sprint(got) != fmt.Sprint(c.want) {
		t.Errorf("%s: names %v, want %v", when, got, c.want)
	}
	in := &real{c.fixture, dir}
	if out, errs, code := in.rootctl(t, "cache", "verify", "--roots"); code != 0 {
		t.Errorf("%s: %s%s", when, out, errs)
	}
	for _, name := range strange(t, dir) {
		t.Errorf("%s: litter: %s", when, name)
	}
}

// untouched says that nothing of a file is in a cache.
func untouched(t *testing.T, dir, when string) {
	t.Helper()
	for _, pattern := range []string{"roots/*", "actions/*", "inputs/*", "refs/*", "releases/*", "dl/sha256/*", "tmp/*", "trash/*"} {
		if there, _ := filepath.Glob(filepath.Join(dir, pattern)); len(there) > 0 {
			t.Errorf("%s: there is %q", when, there)
		}
	}
}

// killAt begins a command and kills it after a time or, if that is 0, as soon as a file is there.
func (c *carrying) killAt(t *testing.T, dir string, sig syscall.Signal, after time.Duration, file string, args ...string) {
	t.Helper()
	cmd := c.command(dir, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for begin := time.Now(); time.Since(begin) < 10*time.Second; {
		if after > 0 {
			time.Sleep(after)
			break
		}
		if there, _ := filepath.Glob(file); len(there) > 0 || len(ended) > 0 {
			break
		}
	}
	_ = cmd.Process.Signal(sig) // it may have ended
	if err := <-ended; err != nil && sig == syscall.SIGINT && cmd.ProcessState.ExitCode() != codeInterrupted {
		t.Errorf("%v after %v at %q: %v\n%s", sig, after, file, err, &out)
	}
	if strings.Contains(out.String(), "goroutine ") {
		t.Errorf("panicked:\n%s", &out)
	}
}

// killedRestores ends restores at random moments, and when the first root, record or name of the last steps appears: what
// has a name then is whole, nothing lies about, and the next restore brings the rest.
func (c *carrying) killedRestores(t *testing.T) {
	start := time.Now()
	c.must(t, "--cache", filepath.Join(c.folder(t), "cache"), "cache", "restore", c.file)
	took := time.Since(start)
	moments := []string{"", "tmp/*/root-*", "", "roots/*.mtree", "", "inputs/*", "", "actions/*", "", "refs/*"}
	for n := range short("ROOTCTL_SOAK_KILLS", 10) {
		dir := filepath.Join(c.folder(t), "cache")
		at := moments[n%len(moments)]
		var after time.Duration
		if at == "" {
			after = 1 + time.Duration(c.r.Int64N(int64(took)))
		}
		sig := syscall.SIGKILL
		if n%4 == 3 {
			sig = syscall.SIGINT
		}
		when := fmt.Sprintf("%v after %v of %v %s", sig, after, took, at)
		c.killAt(t, dir, sig, after, filepath.Join(dir, at), "cache", "restore", c.file)
		c.checkKilled(t, dir, when)
		for name, root := range namesIn(t, dir) {
			if c.want[name] != root {
				t.Errorf("%s: %s is %s", when, name, root)
			}
		}
		in := &real{c.fixture, dir}
		in.must(t, "cache", "restore", c.file)
		c.whole(t, dir, when)
	}
}

// killedSaves ends saves at random moments and when the file appears: it is whole or not there.
func (c *carrying) killedSaves(t *testing.T) {
	packed := filepath.Join(c.dir, "oci", "blobs", "sha256")
	start := time.Now()
	c.must(t, "cache", "save", filepath.Join(c.folder(t), "calm"))
	took := time.Since(start)
	for n := range short("ROOTCTL_SOAK_KILLS", 9) {
		to := filepath.Join(c.folder(t), "file")
		var after time.Duration
		if n%3 > 0 {
			after = 1 + time.Duration(c.r.Int64N(int64(took)))
		}
		if n%3 == 1 { // packs them anew, which takes longer
			after *= 2
			if err := os.RemoveAll(packed); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(packed, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		when := fmt.Sprintf("after %v of %v", after, took)
		c.killAt(t, c.dir, syscall.SIGKILL, after, to, "cache", "save", to)
		sweep(t, c.dir) // as the next build does
		c.checkLeft(t, c.dir, when)
		if b, err := os.ReadFile(to); !errors.Is(err, fs.ErrNotExist) && !bytes.Equal(b, c.bytes) {
			t.Errorf("%s: %d bytes, %v; %d were to be", when, len(b), err, len(c.bytes))
		}
		if all, err := os.ReadDir(filepath.Dir(to)); err != nil || len(all) > 1 || len(all) == 1 && all[0].Name() != "file" {
			t.Errorf("%s: %v, %v", when, all, err)
		}
	}
	again := filepath.Join(c.tmp, "again")
	c.must(t, "cache", "save", again)
	if b, err := os.ReadFile(again); err != nil || !bytes.Equal(b, c.bytes) {
		t.Errorf("another file after kills: %v", err)
	}
	c.must(t, "cache", "verify", "--roots")
}

// damaged flips single bits of the file, and cuts it, at random places, a third of them near its ends: it is
// refused, and nothing of it is taken.
func (c *carrying) damaged(t *testing.T) {
	dir, file := filepath.Join(c.folder(t), "cache"), filepath.Join(c.tmp, "bent")
	in := &real{c.fixture, dir}
	place := func(n int) int {
		switch size := len(c.bytes); n % 6 {
		case 0:
			return c.r.IntN(4096)
		case 1:
			return size - 1 - c.r.IntN(2048)
		default:
			return c.r.IntN(size)
		}
	}
	for n := range short("ROOTCTL_SOAK_FLIPS", 40) {
		bad, at := bytes.Clone(c.bytes), place(n/2)
		what := fmt.Sprintf("cut at %d of %d", at, len(bad))
		if n%2 == 0 {
			bit := c.r.IntN(8)
			bad[at] ^= 1 << bit
			what = fmt.Sprintf("bit %d of byte %d flipped", bit, at)
		} else {
			bad = bad[:at]
		}
		if err := os.WriteFile(file, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		_, errs, code := in.rootctl(t, "cache", "restore", file)
		want := codeUntrusted
		if n%2 == 1 || code == codeFailed && at < 100 { // of another form, it seems
			want = codeFailed
		}
		refused(t, what, errs, code, want, "")
		untouched(t, dir, what)
	}
	in.must(t, "cache", "restore", c.file)
	c.whole(t, dir, "after damage")
}

// fullDisk restores to, and saves from and to, disks that are too small: from the start, or in the middle.
func (c *carrying) fullDisk(t *testing.T) {
	for _, limit := range []string{"size=400k", "size=20m,nr_inodes=40", "size=20m,nr_inodes=400", "size=60%", "size=90%"} {
		dir := filepath.Join(t.TempDir(), "small")
		in := &real{c.fixture, dir}
		mountSmall(t, dir, c.percent(t, limit))
		what := "restore with " + limit
		_, errs, code := in.rootctl(t, "cache", "restore", c.file)
		refused(t, what, errs, code, codeFailed, "")
		saysFull(t, what, errs)
		if left := leftFiles(t, dir); len(left) > 0 {
			t.Errorf("%s: left %q", what, left)
		}
		grow(t, dir)
		in.must(t, "cache", "restore", c.file)
		c.sound(t, dir, what+", then room")
	}
	for _, kb := range []int{4, len(c.bytes) / 2048, len(c.bytes)/1024 - 4} {
		dir := filepath.Join(t.TempDir(), "out")
		mountSmall(t, dir, fmt.Sprintf("size=%dk", kb&^3))
		what := fmt.Sprintf("save to %d kB", kb)
		_, errs, code := c.rootctl(t, "cache", "save", dir+"/file")
		refused(t, what, errs, code, codeFailed, "")
		saysFull(t, what, errs)
		if there, err := os.ReadDir(dir); err != nil || len(there) > 0 {
			t.Errorf("%s: left %v, %v", what, there, err)
		}
		grow(t, dir)
		c.must(t, "cache", "save", dir+"/file")
	}
}

// percent turns a part of what the roots take on a disk into a size.
func (c *carrying) percent(t *testing.T, limit string) string {
	t.Helper()
	var part int64
	if n, err := fmt.Sscanf(limit, "size=%d%%", &part); n != 1 || err != nil || !strings.HasSuffix(limit, "%") {
		return limit
	}
	var size int64
	err := filepath.WalkDir(filepath.Join(c.dir, "roots"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		st, err := d.Info()
		size += (st.Size() + 4095) &^ 4095
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("size=%d", size*part/100)
}

func mountSmall(t *testing.T, dir, limit string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, limit); err != nil {
		t.Fatalf("%s: %v", limit, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

func grow(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, "size=1g,nr_inodes=100000"); err != nil {
		t.Fatal(err)
	}
}

func saysFull(t *testing.T, what, errs string) {
	t.Helper()
	if !strings.Contains(errs, "is full") && !strings.Contains(errs, "no space left on device") && !strings.Contains(errs, "free") {
		t.Errorf("%s: does not say that the disk is full:\n%s", what, errs)
	}
}

// together: several restores of one file into one cache at once all succeed, and leave one of each.
func (c *carrying) together(t *testing.T) {
	for n := range 2 {
		dir := filepath.Join(c.folder(t), "cache")
		var g sync.WaitGroup
		for range 2 + n {
			cmd := c.command(dir, "cache", "restore", c.file)
			g.Go(func() {
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
		g.Wait()
		c.whole(t, dir, fmt.Sprint(2+n, " at once"))
	}
}

// rootless: ordinary users, with a range of ids and with their own alone, take in what root has saved, and save
// the same bytes.
func (c *carrying) rootless(t *testing.T) {
	for _, kind := range []string{"range", "single"} {
		t.Run(kind, func(t *testing.T) {
			o := c.as(t, kind == "single")
			o.must(t, "cache", "restore", o.bring(t, c.file))
			for name, root := range c.want {
				if out := o.must(t, "show", "--json", name); !strings.Contains(out, "sha256:"+string(root)) {
					t.Errorf("%s: %s", name, out)
				}
			}
			if out := o.must(t, "run", "-q", "two", "hello"); out != "hello of a fixture archive\n" {
				t.Errorf("got %q", out)
			}
			o.must(t, "cache", "verify", "--roots")
			o.must(t, "cache", "save", "-q", "again")
			if b, err := os.ReadFile(filepath.Join(o.home, "again")); err != nil || !bytes.Equal(b, c.bytes) {
				t.Errorf("saved again it is another file: %v", err)
			}
			if left := leftFiles(t, o.cache()); len(left) > 0 {
				t.Errorf("left %q", left)
			}
		})
	}
}
