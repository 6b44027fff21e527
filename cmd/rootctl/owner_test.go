package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCachesNeverMix: root's cache and a user's are refused to the other, by every verb and with a way out, and the keys
// of the same request are the same in both.
func TestCachesNeverMix(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: to become another user")
	}
	f := newFixture(t)
	o := f.as(t, true)
	shared := filepath.Join(o.home, "shared") // where both can look
	if err := os.Mkdir(shared, 0o777); err != nil {
		t.Fatal(err)
	}
	roots := filepath.Join(shared, "roots")
	f.build(t, roots)
	o.must(t, o.args...)
	refused := func(out, errs string, code, want int, who string) {
		t.Helper()
		if code != want || !strings.Contains(errs, who) || !strings.Contains(errs, "\nhint: ") || out != "" {
			t.Errorf("exit code %d, want %d and %q\n%s%s", code, want, who, out, errs)
		}
	}
	for _, args := range [][]string{o.args, {"ls"}, {"run", "fixture", "true"}, {"cache", "df"}, {"cache", "gc"}} {
		want := codeFailed
		if args[0] == "run" {
			want = codeRunFailed
		}
		out, errs, code := o.run(t, append([]string{args[0], "--cache", roots}, args[1:]...)...)
		if args[0] == "cache" {
			out, errs, code = o.run(t, append(args, "--cache", roots)...)
		}
		refused(out, errs, code, want, "belongs to user 0, and rootctl runs as user 61234")
		c := f.command(o.cache(), args...)
		var stderr, stdout strings.Builder
		c.Stderr, c.Stdout = &stderr, &stdout
		_ = c.Run()
		refused(stdout.String(), stderr.String(), c.ProcessState.ExitCode(), want, "belongs to user 61234, and rootctl runs as user 0")
	}

	// Same keys, whoever asks, from where and with what: id mode, processors, proxy, folder, log.
	question := append([]string{"cache", "key", "--json"}, f.args[1:len(f.args)-3]...) // without --tag fixture
	question = append(question, "bionic")
	ask := func(dir string, env ...string) string {
		c := f.command(dir, question...)
		c.Env = append(c.Env, env...)
		out, err := c.Output()
		if err != nil {
			t.Fatalf("%v: %v", question, err)
		}
		return string(out)
	}
	want := ask(roots)
	for _, env := range []string{"GOMAXPROCS=1", "ROOTCTL_UNKNOWN=1", "TZ=Asia/Kolkata", "LC_ALL=de_DE.UTF-8", "http_proxy=http://127.0.0.1:9", "HOME=/nowhere"} {
		if got := ask(filepath.Join(t.TempDir(), "other"), env, "no_proxy=127.0.0.1"); got != want {
			t.Errorf("%s: other keys:\n%s", env, got)
		}
	}
	question = append(question, "-v")
	if got := ask(roots); got != want {
		t.Errorf("with -v: other keys:\n%s", got)
	}
	theirs := o.must(t, append([]string{"cache", "key", "--json", "--offline"}, o.keyring()...)...)
	ours := f.offlineKeys(t, roots)
	var x, y struct{ Inputs []map[string]json.RawMessage }
	if json.Unmarshal([]byte(theirs), &x) != nil || json.Unmarshal([]byte(ours), &y) != nil || len(x.Inputs) != 1 || len(y.Inputs) != 1 {
		t.Fatalf("no keys:\n%s\n%s", theirs, ours)
	}
	a, b := x.Inputs[0], y.Inputs[0]
	if string(a["root"]) != string(b["root"]) || string(a["resolve"]) != string(b["resolve"]) || len(a["root"]) < 100 {
		t.Errorf("a user's build has other keys than root's:\n%s\n%s", theirs, ours)
	}
	for _, word := range []string{version(), roots, o.home, f.server.URL, "/tmp"} {
		if strings.Contains(want, word) {
			t.Errorf("%q is in a key:\n%s", word, want)
		}
	}
}

// keyring is what else than mirrors makes up the request.
func (f *fixture) keyring() []string {
	for i, a := range f.args {
		if a == "--keyring" {
			return []string{a, f.args[i+1], "bionic"}
		}
	}
	return nil
}

func (f *fixture) offlineKeys(t *testing.T, dir string) string {
	t.Helper()
	out, err := f.command(dir, append([]string{"cache", "key", "--json", "--offline"}, f.keyring()...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
