package debootstrap

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/control"
	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
	"github.com/rootctl/rootctl/internal/debootstrap/unpack"
	"github.com/rootctl/rootctl/suites"
)

// fixture is a lock of testarchive's host packages, which the real dpkg
// configures, and of some more; and their .debs on disk.
type fixture struct {
	t    *testing.T
	lock Lock
	dir  string
	logs bytes.Buffer
}

func newFixture(t *testing.T, more ...testarchive.Package) *fixture {
	t.Helper()
	needsNamespaces(t)
	hostArchive.Do(func() { hostFiles = testarchive.HostArchive(t, "fixture").Files() })
	if hostFiles == nil {
		t.Skip("needs dpkg: the fixture's packages are made from the host's")
	}
	f := &fixture{t: t, dir: t.TempDir()}
	f.lock = Lock{
		Schema: LockSchema, Suite: "fixture", Variant: "minbase", Arch: testarchive.HostArch(t), Epoch: EpochAuto,
		Rules: suites.Rules{Merged: "no", RootOrderMod: 65521},
		Files: []LockFile{{Path: "/etc/apt/sources.list", Mode: 0o644, Content: "deb http://example.org fixture main\n"}},
	}
	f.add(hostFiles)
	if len(more) > 0 {
		a := testarchive.New("fixture")
		a.Arches = []string{f.lock.Arch}
		f.add(a.Add(more...).Files())
	}
	return f
}

// Packing the host's programs takes longer than installing them.
var (
	hostArchive sync.Once
	hostFiles   map[string][]byte
)

// add locks all packages of an archive.
func (f *fixture) add(files map[string][]byte) {
	t := f.t
	index := string(files["dists/fixture/main/binary-"+f.lock.Arch+"/Packages"])
	for p, err := range control.Paragraphs(index) {
		if err != nil {
			t.Fatal(err)
		}
		field := func(name string) string { return control.Field(p, name) }
		size, _ := strconv.ParseInt(field("Size"), 10, 64)
		l := LockPackage{
			Name: field("Package"), Version: field("Version"), Arch: field("Architecture"), Pocket: "release",
			Path: field("Filename"), Size: size, SHA256: cache.Digest(field("SHA256")),
			Required: field("Priority") == "required", Priority: field("Priority"), Section: field("Section"),
			Stanza: p, Order: len(f.lock.Packages),
		}
		f.lock.Packages = append(f.lock.Packages, l)
		if err := os.WriteFile(filepath.Join(f.dir, l.Name), files[l.Path], 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (f *fixture) open(_ context.Context, p *LockPackage) (*os.File, error) {
	return os.Open(filepath.Join(f.dir, p.Name))
}

// install makes a root; options may be nil.
func (f *fixture) install(ctx context.Context, options func(*InstallOptions)) (string, *Installed, error) {
	f.t.Helper()
	tree := filepath.Join(f.t.TempDir(), "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		f.t.Fatal(err)
	}
	o := InstallOptions{Tree: tree, Open: f.open, Exec: unshareExecutor{}, Log: &f.logs}
	if options != nil {
		options(&o)
	}
	in, err := Install(ctx, &f.lock, o)
	return tree, in, err
}

// in runs a command in a root and returns its output.
func (f *fixture) in(tree string, argv ...string) string {
	f.t.Helper()
	var out bytes.Buffer
	status, err := unshareExecutor{}.Exec(context.Background(), Command{Dir: tree, Argv: argv, Env: environment(), Output: &out})
	if err != nil || status != 0 {
		f.t.Errorf("%v: status %d, %v: %s", argv, status, err, &out)
	}
	return out.String()
}

// describe is a tree as lines of all that makes its identity.
func describe(t *testing.T, tree string) []string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(tree, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		what := ""
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			what = fmt.Sprintf("%x", sha256.Sum256(b))
		case unix.S_IFLNK:
			what, _ = os.Readlink(p)
		}
		rel, _ := filepath.Rel(tree, p)
		lines = append(lines, fmt.Sprintf("%s %o %d:%d %d.%d %s", rel, st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec, what))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// seen is a package whose postinst notes what scripts find prepared.
var seen = testarchive.Package{
	Name: "seen", Fields: map[string]string{"Depends": "dash, coreutils"},
	Scripts: map[string]string{
		"conffiles": "/etc/seen.conf\n",
		"postinst": `#!/bin/sh
set -e
{ /usr/sbin/policy-rc.d || echo policy $?
  /sbin/start-stop-daemon --start
  test -f /etc/resolv.conf && cat /etc/hostname
  env | grep -v ^DPKG_ | grep -v ^PWD | sort
  umask; readlink /proc/self/fd/0; ls /sys/class/net
} > /etc/seen 2>&1
touch /run/left /tmp/left
`,
	},
	Files: []testarchive.File{
		{Name: "etc/seen.conf", Body: "conf\n"},
		{Name: "dev/pipe", Fifo: true, Mode: 0o620},
		{Name: "dev/null", Char: true, Major: 1, Minor: 3, Mode: 0o600},
	},
}

func TestInstall(t *testing.T) {
	for _, tc := range []struct {
		summary string
		merged  bool
		rules   suites.Rules
	}{
		{"unmerged, in one pass", false, suites.Rules{}},
		{"merged, in one pass", true, suites.Rules{}},
		{"unmerged, in stages", false, suites.Rules{StagedVariants: []string{"*"}, RootOrderMod: 8191, LastRequiredDirMode: true}},
		{"merged, in stages", true, suites.Rules{StagedVariants: []string{"minbase"}}},
	} {
		t.Run(tc.summary, func(t *testing.T) {
			f := newFixture(t, seen)
			f.lock.Merged, f.lock.Rules = tc.merged, tc.rules
			f.lock.Rules.SkipUsrmergeMarker = true
			tree, in, err := f.install(context.Background(), nil)
			if err != nil {
				t.Fatalf("%v\n%s", err, &f.logs)
			}
			f.checkRoot(tree, in)
		})
	}
}

func (f *fixture) checkRoot(tree string, in *Installed) {
	t := f.t
	t.Helper()
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(tree, name))
		if err != nil {
			t.Error(err)
		}
		return string(b)
	}
	if in.Epoch != testarchive.Epoch.Unix() {
		t.Errorf("epoch %d, want %d", in.Epoch, testarchive.Epoch.Unix())
	}
	// The fifo is an entry of the manifest: the bare tree has none.
	audit := f.in(tree, "/usr/bin/dpkg", "--audit") + f.in(tree, "/usr/bin/dpkg", "--verify")
	if audit != "missing     /dev/pipe\n" {
		t.Errorf("dpkg complains: %s", audit)
	}
	want := `policy 101

Warning: Fake start-stop-daemon called, doing nothing
localhost
DEBCONF_NONINTERACTIVE_SEEN=true
DEBIAN_FRONTEND=noninteractive
HOME=/root
LANG=C
LC_ALL=C
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
PERL_HASH_SEED=0
PYTHONHASHSEED=0
0022
/dev/null
lo
`
	if got := read("etc/seen"); got != want {
		t.Errorf("scripts saw:\n%s\nwant:\n%s", got, want)
	}
	gone := []string{
		"usr/sbin/policy-rc.d", "sbin/start-stop-daemon.REAL", "etc/resolv.conf", "etc/hostname", "run/left", "tmp/left",
		"etc/seen.conf.dpkg-new", "var/lib/dpkg/tmp.ci", "var/lib/dpkg/status-old", "var/log/dpkg.log", "dev/null", "dev/pipe",
		"var/cache/ldconfig/aux-cache",
	}
	for _, name := range gone {
		if _, err := os.Lstat(filepath.Join(tree, name)); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
	if b := read("sbin/start-stop-daemon"); strings.Contains(b, "Fake") {
		t.Error("start-stop-daemon is still the stub")
	}
	if read("etc/seen.conf") != "conf\n" || !strings.Contains(read("var/lib/dpkg/status"), " /etc/seen.conf b9a771b420047cfaa3543e66c78f44f6\n") {
		t.Error("conffile was not put in place by dpkg")
	}
	if got := read("etc/apt/sources.list"); got != f.lock.Files[0].Content {
		t.Errorf("sources.list: %q", got)
	}
	if _, err := os.Lstat(filepath.Join(tree, "etc/unsupported-skip-usrmerge-conversion")); (err == nil) == f.lock.Merged {
		t.Errorf("marker of an unmerged root: %v", err)
	}
	f.checkDevices(tree, in)
	for _, line := range describe(t, tree) {
		if mtime, _ := strconv.ParseFloat(strings.Fields(line)[3], 64); mtime > float64(in.Epoch) {
			t.Errorf("later than the epoch: %s", line)
		}
	}
}

func (f *fixture) checkDevices(tree string, in *Installed) {
	var devices []string
	for _, d := range in.Devices {
		devices = append(devices, fmt.Sprintf("%s %c %o %d:%d %d,%d", d.Path, d.Type, d.Mode, d.UID, d.GID, d.Major, d.Minor))
		if d.MTime != in.Epoch {
			f.t.Errorf("%s: mtime %d", d.Path, d.MTime)
		}
	}
	want := `dev/console c 666 0:0 5,1
dev/full c 666 0:0 1,7
dev/null c 600 0:0 1,3
dev/pipe p 620 0:0 0,0
dev/ptmx c 666 0:0 5,2
dev/random c 666 0:0 1,8
dev/tty c 666 0:0 5,0
dev/urandom c 666 0:0 1,9
dev/zero c 666 0:0 1,5`
	if got := strings.Join(devices, "\n"); got != want {
		f.t.Errorf("devices:\n%s\nwant:\n%s", got, want)
	}
	names, _ := filepath.Glob(tree + "/dev/*")
	if len(names) != 6 { // fd pts shm stderr stdin stdout
		f.t.Errorf("/dev holds %v", names)
	}
}

func TestInstallIsReproducible(t *testing.T) {
	f := newFixture(t, seen)
	var first []string
	for workers, epoch := range []string{EpochAuto, strconv.FormatInt(testarchive.Epoch.Unix(), 10), EpochAuto} {
		f.lock.Epoch = epoch
		tree, _, err := f.install(context.Background(), func(o *InstallOptions) { o.Workers = workers })
		if err != nil {
			t.Fatalf("%v\n%s", err, &f.logs)
		}
		got := describe(t, tree)
		if first == nil {
			first = got
		}
		if !slices.Equal(first, got) {
			for i := range min(len(first), len(got)) {
				if first[i] != got[i] {
					t.Fatalf("workers %d: %q, first %q", workers, got[i], first[i])
				}
			}
			t.Fatalf("%d names, first %d", len(got), len(first))
		}
	}
}

// A package's .deb may come late: the others do not wait for it.
func TestInstallPipelines(t *testing.T) {
	f := newFixture(t)
	late := make(chan struct{})
	var mu sync.Mutex
	var done []string
	_, _, err := f.install(context.Background(), func(o *InstallOptions) {
		o.Workers = 1
		o.Open = func(ctx context.Context, p *LockPackage) (*os.File, error) {
			if p.Name == "libc6" {
				select {
				case <-late:
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
			return f.open(ctx, p)
		}
		o.Progress = func(e Event) {
			if e.Stage != StageUnpack {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			done = append(done, e.Item)
			if len(done) == len(f.lock.Packages)-1 {
				close(late)
			}
		}
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, &f.logs)
	}
	if done[0] != "base-files" || done[len(done)-1] != "libc6" || len(done) != len(f.lock.Packages) {
		t.Errorf("unpacked in order %v", done)
	}
}

func TestInstallRefuses(t *testing.T) {
	hostile := testarchive.Package{Name: "evil", Files: []testarchive.File{{Header: &tar.Header{
		Typeflag: tar.TypeReg, Name: "../../outside", Mode: 0o644, ModTime: time.Unix(1, 0),
	}}}}
	through := testarchive.Package{Name: "evil", NoParents: true, Files: []testarchive.File{
		{Name: "x", Link: "/etc"}, {Name: "x/passwd", Body: "root::0:0:::\n"},
	}}
	for _, tc := range []struct {
		summary string
		evil    testarchive.Package
		member  string
	}{
		{"dot-dot", hostile, "../../outside"},
		{"write through a link", through, "./x/passwd"},
		{"another package's file", testarchive.Package{Name: "evil", Files: []testarchive.File{{Name: "bin/bash", Body: "x"}}}, "./bin/bash"},
	} {
		t.Run(tc.summary, func(t *testing.T) {
			f := newFixture(t, tc.evil)
			tree, _, err := f.install(context.Background(), nil)
			var m *unpack.MemberError
			if !errors.As(err, &m) {
				t.Fatalf("got %v", err)
			}
			// Of two packages with one file, either may come second.
			if m.Package != "evil" && tc.summary != "another package's file" || m.Member != tc.member {
				t.Errorf("got %v", m)
			}
			if names, _ := os.ReadDir(filepath.Dir(tree)); len(names) != 1 {
				t.Errorf("beside the tree: %v", names)
			}
		})
	}
}

func TestInstallChecksTheDeb(t *testing.T) {
	f := newFixture(t)
	for i := range f.lock.Packages {
		if p := &f.lock.Packages[i]; p.Name == "hello" {
			p.Version = "2.0"
		}
	}
	_, _, err := f.install(context.Background(), nil)
	if err == nil || !strings.Contains(err.Error(), `package hello: the .deb is of version "1.0", not "2.0"`) {
		t.Errorf("got %v", err)
	}
}
