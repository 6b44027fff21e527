package debootstrap

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/debootstrap/dpkg"
	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
	"github.com/rootctl/rootctl/suites"
)

// undone checks that nothing temporary is left in a failed root, and no process
// in it.
func undone(t *testing.T, tree string) {
	t.Helper()
	for _, name := range []string{"usr/sbin/policy-rc.d", "sbin/start-stop-daemon.REAL", "etc/resolv.conf", "etc/hostname", "var/lib/dpkg/tmp.ci"} {
		if _, err := os.Lstat(filepath.Join(tree, name)); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
	if b, err := os.ReadFile(filepath.Join(tree, "sbin/start-stop-daemon")); err != nil || strings.Contains(string(b), "Fake") {
		t.Errorf("start-stop-daemon is not back: %v", err)
	}
	roots, _ := filepath.Glob("/proc/[0-9]*/root")
	for _, r := range roots {
		if at, err := os.Readlink(r); err == nil && strings.HasPrefix(at, tree) {
			t.Errorf("%s is in the tree", r)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), tree) {
		t.Errorf("something is mounted in the tree (%v)", err)
	}
}

func TestScriptFails(t *testing.T) {
	noise := "#!/bin/sh\ni=0; while [ $i -lt 40 ]; do echo line $i; i=$((i+1)); done\n"
	for _, tc := range []struct {
		summary string
		pkg     testarchive.Package
		staged  bool
		want    ConfigureError
		says    string // in LastLines
	}{
		{"postinst", testarchive.Package{Scripts: map[string]string{"postinst": noise + "exit 7\n"}}, false,
			ConfigureError{Package: "bad", Script: "postinst", Status: 7}, "line 39"},
		{"preinst", testarchive.Package{Scripts: map[string]string{"preinst": noise + "exit 9\n"}}, false,
			ConfigureError{Package: "bad", Script: "preinst", Status: 9}, "line 39"},
		{"preinst in a later stage", testarchive.Package{Scripts: map[string]string{"preinst": noise + "exit 9\n"}}, true,
			ConfigureError{Package: "bad", Script: "preinst", Status: 9}, "line 39"},
		{"a dependency that is not there", testarchive.Package{Fields: map[string]string{"Depends": "nowhere"}}, false,
			ConfigureError{Package: "bad", Status: 1}, "nowhere"},
	} {
		t.Run(tc.summary, func(t *testing.T) {
			tc.pkg.Name = "bad"
			f := newFixture(t, tc.pkg)
			if tc.staged {
				f.lock.Rules = suites.Rules{StagedVariants: []string{"*"}}
			}
			tree, _, err := f.install(context.Background(), nil)
			var got *ConfigureError
			if !errors.As(err, &got) {
				t.Fatalf("got %v\n%s", err, &f.logs)
			}
			if !slices.ContainsFunc(got.LastLines, func(l string) bool { return strings.Contains(l, tc.says) }) || len(got.LastLines) > tailLines {
				t.Errorf("last lines %q, want %q among them", got.LastLines, tc.says)
			}
			got.LastLines = nil
			if !reflect.DeepEqual(*got, tc.want) {
				t.Errorf("got %+v, want %+v", *got, tc.want)
			}
			undone(t, tree)
		})
	}
}

func TestCancelledInScript(t *testing.T) {
	for _, script := range []string{"preinst", "postinst"} {
		t.Run(script, func(t *testing.T) {
			f := newFixture(t, testarchive.Package{Name: "slow", Scripts: map[string]string{
				script: "#!/bin/sh\necho started\nsleep 600 & sleep 600\n",
			}})
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			began := time.Now()
			tree, _, err := f.install(ctx, func(o *InstallOptions) { o.Log = cancelOn{"started", cancel} })
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			if d := time.Since(began); d > time.Minute {
				t.Errorf("took %v", d)
			}
			undone(t, tree)
		})
	}
}

type cancelOn struct {
	text   string
	cancel func()
}

func (c cancelOn) Write(b []byte) (int, error) {
	if strings.Contains(string(b), c.text) {
		c.cancel()
	}
	return len(b), nil
}

func TestCancelledWhileWaiting(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, _, err := f.install(ctx, func(o *InstallOptions) {
		o.Open = func(ctx context.Context, p *LockPackage) (*os.File, error) {
			if p.Name != "hello" {
				return f.open(ctx, p)
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestOpenFails(t *testing.T) {
	f := newFixture(t)
	broken := errors.New("mirror is gone")
	_, _, err := f.install(context.Background(), func(o *InstallOptions) {
		o.Open = func(ctx context.Context, p *LockPackage) (*os.File, error) {
			if p.Name == "hello" {
				return nil, broken
			}
			return f.open(ctx, p)
		}
	})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestDpkgFailure(t *testing.T) {
	for _, tc := range []struct {
		summary, output string
		want            ConfigureError
	}{
		{"dpkg 1.21", "dpkg: error processing package libc-bin:amd64 (--configure):\n installed libc-bin package post-installation script subprocess returned error exit status 12\nErrors were encountered",
			ConfigureError{Package: "libc-bin", Script: "postinst", Status: 12}},
		{"dpkg 1.18", "dpkg: error processing package makedev (--configure):\n subprocess installed post-installation script returned error exit status 1\nErrors",
			ConfigureError{Package: "makedev", Script: "postinst", Status: 1}},
		{"dependencies", "dpkg: dependency problems prevent configuration of apt:\n apt depends on x\n\ndpkg: error processing package apt (--configure):\n dependency problems - leaving unconfigured",
			ConfigureError{Package: "apt", Status: 1}},
		{"nothing known", "dpkg: unrecoverable fatal error, aborting:\n files list file for package 'x' is missing", ConfigureError{Status: 1}},
	} {
		got := dpkgFailure(1, strings.Split(tc.output, "\n"))
		got.LastLines = nil
		if !reflect.DeepEqual(*got, tc.want) {
			t.Errorf("%s: got %+v, want %+v", tc.summary, *got, tc.want)
		}
	}
}

func TestCause(t *testing.T) {
	for _, tc := range []struct {
		err  ConfigureError
		want string
	}{
		{ConfigureError{LastLines: []string{"cp: error writing 'x': No space left on device", "dpkg: error"}}, "the disk is full"},
		{ConfigureError{Status: 137}, "it was killed from outside, perhaps because memory ran out"},
		{ConfigureError{Status: 1, LastLines: []string{"whatever"}}, ""},
	} {
		if got := tc.err.Cause(); got != tc.want {
			t.Errorf("%+v: %q, want %q", tc.err, got, tc.want)
		}
	}
}

// A package may unpack to what it says of itself, with room to be wrong, and
// no more.
func TestUnpackLimit(t *testing.T) {
	const room = 256 << 20
	for _, tc := range []struct {
		paragraph string
		size      int64
		want      int64
	}{
		{"Package: x\nInstalled-Size: 1000\n", 5000, room + 2*1000<<10},
		{"Package: x\n", 5000, room + 200*5000},
		{"Package: x\nInstalled-Size: 99999999999999\n", 5000, room + 200*5000},
		{"Package: x\nInstalled-Size: -1\n", 5000, room + 200*5000},
	} {
		p := &pkg{LockPackage: &LockPackage{Size: tc.size}, db: &dpkg.Package{Paragraph: tc.paragraph}}
		if got := p.limit(); got != tc.want {
			t.Errorf("%q: %d, want %d", tc.paragraph, got, tc.want)
		}
	}
}

func TestTail(t *testing.T) {
	var whole strings.Builder
	var lines []string
	tl := newTail(&whole, func(l string) { lines = append(lines, l) })
	for _, s := range []string{"Setting up a (1) ...\nSet", "ting up lib:amd64 (2) ...\n\n", "bad \xff byte\r\nend"} {
		if _, err := tl.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"Setting up a (1) ...", "Setting up lib:amd64 (2) ...", "bad ? byte", "end"}
	if got := tl.lines(); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if len(lines) != 5 || !strings.HasSuffix(whole.String(), "\nend") {
		t.Errorf("lines %q, whole %q", lines, whole.String())
	}
	for i, name := range []string{"a", "lib"} {
		if got, ok := settingUpName(lines[i]); !ok || got != name {
			t.Errorf("%q: %q", lines[i], got)
		}
	}
	tl.Write([]byte(strings.Repeat("x", 10*tailBytes)))
	for i := range 3 * tailLines {
		tl.Write([]byte("\n" + strconv.Itoa(i)))
	}
	if got := tl.lines(); len(got) != tailLines || got[0] != "40" {
		t.Errorf("kept %d lines from %q", len(got), got[0])
	}
}
