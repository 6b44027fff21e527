package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// TestWrongClocks runs verbs by clocks that are ten years off. What is cached is there and runs, names are kept by a
// collection, and an archive that looks as if it came from the future, or expired, is refused by words that tell of the
// clock.
func TestWrongClocks(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	archive := testarchive.HostArchive(t, "bionic")
	archive.Date = time.Now().Add(-time.Hour)
	archive.ValidUntil = archive.Date.AddDate(0, 0, 7)
	server := archive.Serve(t)
	from := []string{"--mirror", server.URL, "--only-mirror", "--keyring", keyFile(t, archive.Key)}
	build := append(append([]string{"build", "--tag", "one"}, from...), "bionic")
	dir := filepath.Join(t.TempDir(), "cache")
	verb := func(now time.Time, dir string, args ...string) (string, error) {
		return atClock(t, now, append([]string{"-q", "--cache", dir}, args...)...)
	}
	if _, err := verb(time.Now(), dir, build...); err != nil {
		t.Fatal(err)
	}
	for _, years := range []int{-10, 10} {
		now := time.Now().AddDate(years, 0, 0)
		t.Run(fmt.Sprintf("%+d years", years), func(t *testing.T) {
			for _, args := range [][]string{{"ls"}, {"run", "one", "true"}, {"cache", "gc"}, {"cache", "verify", "--roots"}, {"tag", "one", "two"},
				{"cache", "df"}, {"export", "one", "-o", filepath.Join(t.TempDir(), "one.tar")},
				append(append([]string{"build", "--offline", "--tag", "one"}, from...), "bionic")} {
				if _, err := verb(now, dir, args...); err != nil {
					t.Errorf("%v: %v", args, err)
				}
			}
			if out, err := verb(now, dir, "ls"); err != nil || !strings.Contains(out, "one") {
				t.Errorf("ls: %v\n%s", err, out)
			}
			_, err := verb(now, filepath.Join(t.TempDir(), "new"), build...)
			if err == nil || codeOf(err) != codeUntrusted || !strings.Contains(err.Error()+hintOf(err), "clock") || hintOf(err) == "" {
				t.Errorf("build: %v\nhint: %s", err, hintOf(err))
			}
		})
	}
}

// atClock does one command line in this process, by another clock, and returns its standard output.
func atClock(t *testing.T, now time.Time, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	a := newApp(cancel)
	a.now, a.stdout, a.argv = func() time.Time { return now }, out, args
	c := newRootCommand(a)
	c.SetArgs(args)
	err = c.ExecuteContext(ctx)
	if err == nil && a.exit != 0 {
		err = fmt.Errorf("exit code %d", a.exit)
	}
	if _, e := out.Seek(0, io.SeekStart); e != nil {
		t.Fatal(e)
	}
	b, e := io.ReadAll(out)
	if e != nil {
		t.Fatal(e)
	}
	return string(b), err
}
