package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// ciWorld is machines with caches of their own, an archive and a registry.
type ciWorld struct {
	*fixture
	t   *testing.T
	env []string
}

func newCIWorld(t *testing.T) *ciWorld {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	return &ciWorld{fixture: newFixture(t), t: t, env: []string{"DOCKER_CONFIG=" + t.TempDir()}}
}

// do runs rootctl with a machine's cache.
func (w *ciWorld) do(cache string, args ...string) (stdout, stderr string, code int) {
	w.t.Helper()
	c := w.command(cache, args...)
	c.Env = append(c.Env, w.env...)
	return outcome(w.t, c)
}

// built builds the fixture with more flags and returns the report.
func (w *ciWorld) built(cache string, flags ...string) (r buildReport, stderr string) {
	w.t.Helper()
	args := append([]string{"build", "--json"}, w.args[1:]...)
	out, errs, code := w.do(cache, append(args, flags...)...) // a later --tag counts
	if code != 0 {
		w.t.Fatalf("build %v: exit code %d\n%s%s", flags, code, out, errs)
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		w.t.Fatalf("%v\n%s", err, out)
	}
	return r, errs
}

// cleanLeft fails where a cache has temporary files or damage.
func (w *ciWorld) cleanLeft(cache string) {
	w.t.Helper()
	for _, name := range []string{"tmp", "trash"} {
		entries, err := os.ReadDir(filepath.Join(cache, name))
		if err != nil || len(entries) > 0 {
			w.t.Errorf("%s: %v %v", name, entries, err)
		}
	}
	if out, errs, code := w.do(cache, "cache", "verify", "--roots"); code != 0 {
		w.t.Errorf("cache verify: %d\n%s%s", code, out, errs)
	}
}

func TestRegistry(t *testing.T) {
	w := newCIWorld(t)
	for _, row := range []registryWith{{false, false}, {false, true}, {true, false}, {true, true}} {
		t.Run(fmt.Sprintf("tls %v, login %v", row.tls, row.login), func(t *testing.T) {
			w := &ciWorld{fixture: w.fixture, t: t, env: w.env}
			r := startRegistry(t, row)
			repo := r.host + "/ci/roots"
			if row.login {
				w.env = []string{"DOCKER_CONFIG=" + dockerConfig(t, r.host, "s3cret-w0rd")}
			}
			one, two, three := t.TempDir(), t.TempDir(), t.TempDir()
			made, _ := w.built(one, append(r.args, "--cache-to", repo, "--cache-required")...)
			if made.How != howBuilt {
				t.Errorf("the first machine: %s, %s", made.How, made.Why)
			}
			w.server.Reset()
			got, errs := w.built(two, append(r.args, "--cache-from", repo, "--cache-required")...)
			if got.How != howPulled || got.Digest != made.Digest || got.Key != made.Key || got.Packages != made.Packages {
				t.Errorf("the second machine: %+v\nthe first: %+v\n%s", got, made, errs)
			}
			for _, q := range w.server.Requests() {
				if !strings.HasSuffix(q.Path, "/InRelease") || q.IfModifiedSince == "" || q.Status != http.StatusNotModified {
					t.Errorf("the mirror was asked for more than whether something is new: %+v", q)
				}
			}
			if out, errs, code := w.do(two, "run", "fixture", "echo", "hello"); out != "hello\n" || code != 0 {
				t.Errorf("run: %q %d\n%s", out, code, errs)
			}
			if again, _ := w.built(two, append(r.args, "--cache-from", repo)...); again.How != howCached {
				t.Errorf("again: %s, %s", again.How, again.Why)
			}
			w.verbs(t, r, one, three, made.Digest)
			w.cleanLeft(two)
			w.cleanLeft(three)
			if row.login {
				w.badLogin(t, r, repo)
			}
		})
	}
}

// verbs pushes from one cache and pulls into another.
func (w *ciWorld) verbs(t *testing.T, r *realRegistry, from, to, digest string) {
	t.Helper()
	ref := r.host + "/ci/roots:mine"
	if _, errs, code := w.do(from, append(append([]string{"push"}, r.args...), "fixture", ref)...); code != 0 {
		t.Fatalf("push: %d\n%s", code, errs)
	}
	_, errs, code := w.do(to, append(append([]string{"pull"}, r.args...), "--tag", "got", ref)...)
	if code != 0 {
		t.Fatalf("pull: %d\n%s", code, errs)
	}
	out, errs, code := w.do(to, "show", "got", "--json")
	if code != 0 || !strings.Contains(out, strings.TrimPrefix(digest, "sha256:")) || !strings.Contains(out, ref) {
		t.Errorf("show: %d\n%s%s", code, out, errs)
	}
	_, errs, code = w.do(to, append(append([]string{"pull"}, r.args...), r.host+"/ci/roots:none")...)
	if code != codeNotFound || !strings.Contains(errs, "hint:") {
		t.Errorf("pull of what is not there: %d\n%s", code, errs)
	}
}

// badLogin tries a wrong password, and none: a warning, or with --cache-required an error, and no password in either.
func (w *ciWorld) badLogin(t *testing.T, r *realRegistry, repo string) {
	t.Helper()
	for _, config := range []string{dockerConfig(t, r.host, "wr0ng-w0rd"), t.TempDir()} {
		w.env = []string{"DOCKER_CONFIG=" + config}
		got, errs := w.built(t.TempDir(), append(r.args, "--cache-from", repo)...)
		if got.How != howBuilt || !strings.Contains(errs, "warning: ") {
			t.Errorf("not logged in: %s, %s\n%s", got.How, got.Why, errs)
		}
		args := append(append([]string{"-v", "build", "--cache-from", repo, "--cache-required"}, r.args...), w.args[1:]...)
		out, errs, code := w.do(t.TempDir(), args...)
		if code != codeFailed || !strings.Contains(errs, "hint: log in first") {
			t.Errorf("not logged in, --cache-required: %d\n%s", code, errs)
		}
		if strings.Contains(out+errs, "w0rd") {
			t.Errorf("a password is shown:\n%s%s", out, errs)
		}
	}
}

// TestRegistryFaults has a registry go wrong in each way: the root comes nevertheless, or is built, and nothing bad is kept.
func TestRegistryFaults(t *testing.T) {
	w := newCIWorld(t)
	real := startRegistry(t, registryWith{})
	repo := real.host + "/roots"
	made, _ := w.built(t.TempDir(), "--insecure", "--cache-to", repo, "--cache-required")
	m := meddle(t, real)
	from := m.host + "/roots"
	times := func(n int, is func(*http.Request) bool, do func(http.ResponseWriter, *http.Request, http.Handler)) func(http.ResponseWriter, *http.Request, http.Handler) bool {
		left := make(chan int, 1)
		left <- n
		return func(rw http.ResponseWriter, r *http.Request, h http.Handler) bool {
			n := <-left
			defer func() { left <- n }()
			if n == 0 || !is(r) {
				return false
			}
			n--
			do(rw, r, h)
			return true
		}
	}
	path := func(part string) func(*http.Request) bool {
		return func(r *http.Request) bool { return strings.Contains(r.URL.Path, part) }
	}
	status := func(code int, header ...string) func(http.ResponseWriter, *http.Request, http.Handler) {
		return func(rw http.ResponseWriter, r *http.Request, h http.Handler) {
			for i := 0; i+1 < len(header); i += 2 {
				rw.Header().Set(header[i], header[i+1])
			}
			rw.WriteHeader(code)
		}
	}
	cut := func(share int) func(http.ResponseWriter, *http.Request, http.Handler) {
		return func(rw http.ResponseWriter, r *http.Request, h http.Handler) {
			resp, b := recorded(h, r)
			for _, k := range []string{"Content-Length", "Content-Range", "Content-Type"} {
				if v := resp.Header.Get(k); v != "" {
					rw.Header().Set(k, v)
				}
			}
			rw.WriteHeader(resp.StatusCode)
			_, _ = rw.Write(b[:len(b)*share/100])
			panic(http.ErrAbortHandler)
		}
	}
	noRange := func(rw http.ResponseWriter, r *http.Request, h http.Handler) {
		r.Header.Del("Range")
		h.ServeHTTP(rw, r)
	}
	layer := func(r *http.Request) bool {
		return strings.Contains(r.URL.Path, "/blobs/") && r.Method == http.MethodGet
	}
	flip := func(rw http.ResponseWriter, r *http.Request, h http.Handler) {
		_, b := recorded(h, r)
		b[len(b)/2] ^= 1
		rw.Header().Set("Content-Length", strconv.Itoa(len(b)))
		_, _ = rw.Write(b)
	}
	swap := func(rw http.ResponseWriter, r *http.Request, h http.Handler) {
		resp, b := recorded(h, r)
		b = []byte(strings.ReplaceAll(string(b), string(made.Key), strings.Repeat("0", 64)))
		rw.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
		_, _ = rw.Write(b)
	}
	for _, row := range []struct {
		name   string
		answer func(http.ResponseWriter, *http.Request, http.Handler) bool
		want   how
		says   string // on stderr
	}{
		{"401 on the tag", times(-1, path("/manifests/r-"), status(401)), howBuilt, "warning: "},
		{"429 with Retry-After", times(2, path("/manifests/"), status(429, "Retry-After", "1")), howPulled, ""},
		{"429 for an hour", times(-1, path("/manifests/"), status(429, "Retry-After", "3600")), howBuilt, "429"},
		{"503 thrice", times(3, path("/v2/"), status(503)), howPulled, ""},
		{"500 always", times(-1, path("/v2/"), status(500)), howBuilt, "500"},
		{"cut at 0 %", times(2, layer, cut(0)), howPulled, ""},
		{"cut at 13 %", times(3, layer, cut(13)), howPulled, ""},
		{"cut at 99 %", times(4, layer, cut(99)), howPulled, ""},
		{"a flipped bit", times(-1, layer, flip), howBuilt, "warning: "},
		{"a moved tag", times(-1, path("/manifests/r-"), swap), howBuilt, "is not used"},
		{"no such tag", times(-1, path("/manifests/"), status(404)), howBuilt, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := &ciWorld{fixture: w.fixture, t: t, env: w.env}
			m.set(row.answer)
			cache := t.TempDir()
			got, errs := w.built(cache, "--insecure", "--cache-from", from)
			if got.How != row.want || got.Digest != made.Digest {
				t.Errorf("%s, %s: %s\n%s", got.How, got.Why, got.Digest, errs)
			}
			if !strings.Contains(errs, row.says) || row.says == "" && strings.Contains(errs, "warning:") {
				t.Errorf("stderr, without %q:\n%s", row.says, errs)
			}
			w.cleanLeft(cache)
		})
	}
	t.Run("cut, then Range is ignored", func(t *testing.T) {
		w := &ciWorld{fixture: w.fixture, t: t, env: w.env}
		first := times(1, layer, cut(40))
		m.set(func(rw http.ResponseWriter, r *http.Request, h http.Handler) bool {
			if first(rw, r, h) {
				return true
			}
			noRange(rw, r, h)
			return true
		})
		cache := t.TempDir()
		if got, errs := w.built(cache, "--insecure", "--cache-from", from); got.How != howPulled || got.Digest != made.Digest {
			t.Errorf("%s, %s\n%s", got.How, got.Why, errs)
		}
		w.cleanLeft(cache)
	})
	t.Run("read-only", func(t *testing.T) {
		w := &ciWorld{fixture: w.fixture, t: t, env: w.env}
		m.set(times(-1, func(r *http.Request) bool { return r.Method != http.MethodGet && r.Method != http.MethodHead }, status(405)))
		if got, errs := w.built(t.TempDir(), "--insecure", "--cache-to", m.host+"/other"); got.How != howBuilt || !strings.Contains(errs, "405") {
			t.Errorf("%s, %s\n%s", got.How, got.Why, errs)
		}
	})
	t.Run("killed, then on", func(t *testing.T) { w.killedPull(t, m, from, made) })
}

// killedPull kills a pull of which half has come; the next one asks for the rest alone.
func (w *ciWorld) killedPull(t *testing.T, m *meddler, from string, made buildReport) {
	w = &ciWorld{fixture: w.fixture, t: t, env: w.env}
	cache, half, end := t.TempDir(), make(chan struct{}, 8), make(chan struct{})
	ranges := make(chan string, 64)
	m.set(func(rw http.ResponseWriter, r *http.Request, h http.Handler) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") || r.Method != http.MethodGet {
			return false
		}
		_, b := recorded(h, r)
		if len(b) < 1<<20 {
			return false
		}
		rw.Header().Set("Content-Length", strconv.Itoa(len(b)))
		_, _ = rw.Write(b[:len(b)/2])
		rw.(http.Flusher).Flush()
		half <- struct{}{}
		<-end
		return true
	})
	c := w.command(cache, append([]string{"build", "--insecure", "--cache-from", from}, w.args[1:]...)...)
	c.Env = append(c.Env, w.env...)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	<-half
	until(t, "a part is there", func() bool {
		parts, _ := filepath.Glob(filepath.Join(cache, "tmp", "*.part"))
		for _, p := range parts {
			if st, err := os.Stat(p); err == nil && st.Size() > 1<<19 {
				return true
			}
		}
		return false
	})
	c.Process.Kill()
	_ = c.Wait() // it was killed
	close(end)
	m.set(func(rw http.ResponseWriter, r *http.Request, h http.Handler) bool {
		if rng := r.Header.Get("Range"); rng != "" {
			ranges <- rng
		}
		return false
	})
	got, errs := w.built(cache, "--insecure", "--cache-from", from)
	if got.How != howPulled || got.Digest != made.Digest || len(ranges) != 1 {
		t.Errorf("%s, %s, %d requests for a range\n%s", got.How, got.Why, len(ranges), errs)
	}
	w.cleanLeft(cache)
}

// TestRegistryCrowd has 20 processes push and pull two roots at once, through 4 caches.
func TestRegistryCrowd(t *testing.T) {
	w := newCIWorld(t)
	r := startRegistry(t, registryWith{})
	repo := r.host + "/crowd"
	source := t.TempDir()
	made, _ := w.built(source, "--insecure")
	other, _ := w.built(source, "--insecure", "--include", "hello", "--tag", "second")
	var caches []string
	for range 4 {
		caches = append(caches, t.TempDir())
	}
	base := w.args[1:]
	c := &crowd{}
	for i := range 20 {
		dir := source
		args := []string{"push", "--insecure", "fixture", repo}
		switch i % 5 {
		case 1:
			args = []string{"push", "--insecure", "second", repo}
		case 2, 3:
			dir, args = caches[i%4], append([]string{"build", "--insecure", "--cache-from", repo, "--cache-to", repo, "--cache-required"}, base...)
		case 4:
			dir, args = caches[i%4], append(append([]string{"build", "--insecure", "--cache-from", repo, "--cache-to", repo, "--cache-required", "--include", "hello"}, base...), "--tag", "second")
		}
		one := w.start(t, dir, 1, func(int) []string { return args })
		c.cmds, c.errs, c.outs = append(c.cmds, one.cmds...), append(c.errs, one.errs...), append(c.outs, one.outs...)
	}
	c.wait(t)
	for _, want := range []struct{ name, digest string }{{"fixture", made.Digest}, {"second", other.Digest}} {
		fresh := t.TempDir()
		flags := []string{"--insecure", "--cache-from", repo, "--cache-required"}
		if want.name == "second" {
			flags = append(flags, "--include", "hello", "--tag", "second")
		}
		if got, errs := w.built(fresh, flags...); got.How != howPulled || got.Digest != want.digest {
			t.Errorf("%s: %s, %s: %s\n%s", want.name, got.How, got.Why, got.Digest, errs)
		}
	}
	for _, dir := range append(caches, source) {
		w.cleanLeft(dir)
	}
}
