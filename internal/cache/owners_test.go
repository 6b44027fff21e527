package cache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFit takes a sealed root's owners, modes and capabilities as copies by ordinary tools do, sees that it is noticed,
// and has them restored.
func TestFit(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: chown")
	}
	ctx := context.Background()
	s := open(t)
	temp, err := s.Temp()
	must(t, err)
	tree := filepath.Join(temp.Path, "root")
	const capability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // cap_net_raw
	for _, f := range []struct {
		name     string
		mode     uint32
		uid, gid int
	}{{".", 0o755, 0, 0}, {"tmp", 0o1777, 0, 0}, {"etc", 0o755, 0, 0}, {"etc/shadow", 0o640, 0, 42}, {"var", 0o755, 0, 0},
		{"var/mail", 0o2775, 0, 8}, {"bin", 0o755, 0, 0}, {"bin/su", 0o4755, 0, 0}, {"bin/man", 0o6755, 6, 12}, {"bin/ping", 0o755, 0, 0}} {
		path := filepath.Join(tree, f.name)
		if filepath.Dir(f.name) == "etc" || filepath.Dir(f.name) == "bin" {
			must(t, os.WriteFile(path, []byte(f.name), 0o600))
		} else {
			must(t, os.MkdirAll(path, 0o755))
		}
		must(t, os.Chown(path, f.uid, f.gid))
		must(t, unix.Chmod(path, f.mode))
	}
	must(t, unix.Setxattr(filepath.Join(tree, "bin/ping"), "security.capability", []byte(capability), 0))
	m, d, _, err := Scan(ctx, tree, ScanOptions{Epoch: 1 << 40})
	must(t, err)
	l, err := s.Seal(ctx, temp, tree, m, d)
	must(t, err)
	defer l.Close()
	fit := func(single bool, want Fit, when string) {
		t.Helper()
		if got, err := l.Fit(single); got != want || err != nil {
			t.Errorf("%s: %v, %v; want %v", when, got, err, want)
		}
	}
	fit(false, FitWhole, "sealed")
	for _, tt := range []struct {
		summary string
		spoil   func(path string, st *unix.Stat_t)
		single  Fit // with one id
	}{
		{"all of 0:0", func(path string, st *unix.Stat_t) { must(t, os.Lchown(path, 0, 0)) }, FitWhole},
		{"ids moved", func(path string, st *unix.Stat_t) {
			if st.Gid != 0 {
				must(t, os.Lchown(path, int(st.Uid), int(st.Gid)+10))
			}
		}, FitWhole},
		{"unpacked with an umask and without setuid", func(path string, st *unix.Stat_t) { must(t, unix.Chmod(path, st.Mode&0o755)) }, FitLost},
	} {
		must(t, filepath.WalkDir(l.Tree, func(path string, _ os.DirEntry, err error) error {
			var st unix.Stat_t
			must(t, unix.Lstat(path, &st))
			tt.spoil(path, &st)
			return err
		}))
		_ = unix.Removexattr(filepath.Join(l.Tree, "bin/ping"), "security.capability") // a change of owners has taken it
		fit(true, tt.single, tt.summary+", with one id")
		fit(false, FitLost, tt.summary)
		must(t, l.Restore(false))
		fit(false, FitWhole, tt.summary+", restored")
		if diffs, err := m.Verify(ctx, l.Tree); err != nil || len(diffs) > 0 {
			t.Errorf("%s, restored: %q, %v", tt.summary, diffs, err)
		}
	}
	// One that is not to be written to stays as it is.
	must(t, os.Chown(filepath.Join(l.Tree, "etc/shadow"), 0, 0))
	must(t, os.Chmod(s.Dir(), 0o500))
	frozen, err := Open(s.Dir(), Options{})
	must(t, err)
	if !frozen.ReadOnly() {
		t.Fatal("not read-only")
	}
	lf, err := frozen.Lease(ctx, d)
	must(t, err)
	defer lf.Close()
	if fit, err := lf.Fit(false); fit != FitLost || err != nil {
		t.Errorf("read-only: %v, %v", fit, err)
	}
	if err := lf.Restore(false); !errors.Is(err, ErrReadOnly) {
		t.Errorf("read-only: restored with %v", err)
	}
	must(t, os.Chown(filepath.Join(l.Tree, "etc/shadow"), 0, overflowID))
	fit(true, FitForeign, "an owner without an id here")
}
