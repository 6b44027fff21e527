package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/cache/oci"
)

// asked is the body of a request, which can be read once more.
func asked(t *testing.T, q *http.Request) []byte {
	b, err := io.ReadAll(q.Body)
	if err != nil {
		t.Error(err)
	}
	q.Body = io.NopCloser(bytes.NewReader(b))
	return b
}

// TestRegistryRefuses has a registry refuse what is no image: documents about images, the list of these, selections of
// packages. Images go there and come from there, with a warning.
func TestRegistryRefuses(t *testing.T) {
	w := newCIWorld(t)
	r := startRegistry(t, registryWith{})
	m := meddle(t, r)
	source := t.TempDir()
	made, _ := w.built(source, "--insecure")
	manifest := func(q *http.Request) bool {
		return strings.Contains(q.URL.Path, "/manifests/") && q.Method == http.MethodPut
	}
	for i, row := range []struct {
		summary string
		code    int
		is      func(q *http.Request) bool
		says    string
	}{
		{"documents, 400", 400, func(q *http.Request) bool { return manifest(q) && bytes.Contains(asked(t, q), []byte(`"subject"`)) }, "documents about images"},
		{"documents, 415", 415, func(q *http.Request) bool { return manifest(q) && bytes.Contains(asked(t, q), []byte(`"subject"`)) }, "documents about images"},
		{"whatever is no image, 404", 404, func(q *http.Request) bool {
			return manifest(q) && bytes.Contains(asked(t, q), []byte(`"artifactType"`))
		}, "no image"},
		{"whatever is no image, 405", 405, func(q *http.Request) bool {
			return manifest(q) && bytes.Contains(asked(t, q), []byte(`"artifactType"`))
		}, "no image"},
		{"manifests without a tag, 400", 400, func(q *http.Request) bool { return manifest(q) && strings.Contains(q.URL.Path, "/sha256:") }, "documents about images"},
		{"the list, 400", 400, func(q *http.Request) bool { return strings.Contains(q.URL.Path, "/referrers/") }, "documents about images"},
		{"the list's tag, 422", 422, func(q *http.Request) bool { return manifest(q) && strings.Contains(q.URL.Path, "/sha256-") }, "documents about images"},
	} {
		t.Run(row.summary, func(t *testing.T) {
			w := &ciWorld{fixture: w.fixture, t: t, env: w.env}
			m.set(func(rw http.ResponseWriter, q *http.Request, _ http.Handler) bool {
				if row.is(q) {
					rw.WriteHeader(row.code)
					return true
				}
				return false
			})
			repo := fmt.Sprintf("%s/roots%d", m.host, i)
			for _, to := range []string{repo + ":x", repo} {
				_, errs, code := w.do(source, "push", "--insecure", "fixture", to)
				if code != 0 || strings.Count(errs, "warning: ") == 0 || !strings.Contains(errs, strconv.Itoa(row.code)) || to == repo && !strings.Contains(errs, row.says) {
					t.Errorf("push to %s: %d\n%s", to, code, errs)
				}
			}
			cache := t.TempDir()
			if _, errs, code := w.do(cache, "pull", "--insecure", "--tag", "got", repo+":x"); code != 0 {
				t.Errorf("pull: %d\n%s", code, errs)
			}
			w.cleanLeft(cache)
			if got, errs := w.built(t.TempDir(), "--insecure", "--cache-from", repo, "--cache-required"); got.How != howPulled || got.Digest != made.Digest {
				t.Errorf("build: %s, %s\n%s", got.How, got.Why, errs)
			}
		})
	}
	t.Run("a login that may not push documents", func(t *testing.T) {
		w := &ciWorld{fixture: w.fixture, t: t, env: w.env}
		m.set(func(rw http.ResponseWriter, q *http.Request, _ http.Handler) bool {
			if manifest(q) && bytes.Contains(asked(t, q), []byte(`"subject"`)) {
				rw.WriteHeader(http.StatusForbidden)
				return true
			}
			return false
		})
		if _, errs, code := w.do(source, "push", "--insecure", "fixture", m.host+"/forbidden:x"); code != codeFailed || !strings.Contains(errs, "403") {
			t.Errorf("%d\n%s", code, errs)
		}
	})
}

// TestRegistryTogether has two machines push the same root at once, each reading the list of documents just before the
// other writes it: each kind is listed nevertheless, and what both have is listed once. Then somebody writes an older list over theirs.
func TestRegistryTogether(t *testing.T) {
	w := newCIWorld(t)
	r := startRegistry(t, registryWith{})
	m := meddle(t, r)
	caches := []string{t.TempDir(), t.TempDir()}
	for _, cache := range caches {
		w.built(cache, "--insecure")
	}
	push := func(name string, caches ...string) string {
		t.Helper()
		c := &crowd{}
		for _, cache := range caches {
			one := w.start(t, cache, 1, func(int) []string {
				return []string{"push", "--json", "--insecure", "fixture", m.host + "/" + name + ":x"}
			})
			c.cmds, c.errs, c.outs = append(c.cmds, one.cmds...), append(c.errs, one.errs...), append(c.outs, one.outs...)
		}
		c.wait(t)
		manifest := ""
		for _, out := range c.outs {
			var rep pushReport
			if err := json.Unmarshal(out.Bytes(), &rep); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if manifest != "" && rep.Manifest != manifest {
				t.Fatalf("one root, two images: %s and %s", manifest, rep.Manifest)
			}
			manifest = rep.Manifest
		}
		return manifest
	}
	judge := func(name, image string) {
		t.Helper()
		types := r.referrers(t, name, image)
		if n := len(types[oci.TypeSBOM]); n != 1 {
			t.Errorf("%d lists of packages", n)
		}
		if n := len(types[oci.TypeProvenance]); n < 1 || n > 2 {
			t.Errorf("%d records of how it was made", n)
		}
		for kind, list := range types {
			for _, d := range list {
				var a oci.Artifact
				if _, ok := r.fetch(t, name+"/manifests/"+d.Digest, &a); !ok || a.Subject == nil || a.Subject.Digest != image {
					t.Errorf("%s: %+v", kind, a)
				}
			}
		}
		if _, errs, code := w.do(t.TempDir(), "pull", "--insecure", r.host+"/"+name+":x"); code != 0 {
			t.Errorf("pull: %d\n%s", code, errs)
		}
	}
	list := func(q *http.Request, method string) bool {
		return strings.Contains(q.URL.Path, "/manifests/sha256-") && q.Method == method
	}
	pair := make(chan struct{})
	m.set(func(rw http.ResponseWriter, q *http.Request, h http.Handler) bool {
		if !list(q, http.MethodGet) {
			return false
		}
		resp, b := recorded(h, q)
		select { // two that have read come back together
		case pair <- struct{}{}:
		case <-pair:
		case <-time.After(time.Second):
		}
		rw.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
		rw.Header().Set("Docker-Content-Digest", resp.Header.Get("Docker-Content-Digest"))
		rw.WriteHeader(resp.StatusCode)
		_, _ = rw.Write(b)
		return true
	})
	for round := range 3 {
		name := fmt.Sprintf("roots%d", round)
		judge(name, push(name, caches...))
	}
	var mu sync.Mutex
	var old []byte
	over := false
	m.set(func(rw http.ResponseWriter, q *http.Request, h http.Handler) bool {
		if !list(q, http.MethodPut) {
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		b := asked(t, q)
		if old == nil {
			old = b
			return false
		}
		h.ServeHTTP(rw, q)
		if !over {
			over = true
			again := q.Clone(q.Context())
			again.Body, again.ContentLength = io.NopCloser(bytes.NewReader(old)), int64(len(old))
			recorded(h, again)
		}
		return true
	})
	image := push("over", caches[0])
	if !over {
		t.Error("nothing was written over")
	}
	judge("over", image)
}

// TestHelperHangs has a credential helper and what it started come to their end.
func TestHelperHangs(t *testing.T) {
	dir := t.TempDir()
	pid := filepath.Join(dir, "pid")
	helper := filepath.Join(dir, "docker-credential-hanging")
	script := "#!/bin/sh\nsleep 1000 &\necho $! >" + pid + ".new && mv " + pid + ".new " + pid + "\nwait\n"
	if err := os.WriteFile(helper, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"credsStore": "hanging"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	a := &app{stdin: null, getenv: func(name string) string { return map[string]string{"DOCKER_CONFIG": dir}[name] }, helperTime: time.Second}
	begun := time.Now()
	_, err = a.dockerLogin(context.Background(), "registry.example.org")
	if err == nil || !strings.Contains(err.Error(), "no answer in 1s") || hintOf(err) == "" {
		t.Errorf("%v", err)
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	text, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err) // a second is enough for a shell to come this far
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	until(t, "what the helper started is killed", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n))
		return err != nil && syscall.Kill(n, 0) != nil || strings.Contains(string(stat), ") Z ")
	})
}

// TestRegistryInsecure names registries that need not show who they are, in each of the three places.
func TestRegistryInsecure(t *testing.T) {
	for _, row := range []struct {
		flag, env, conf, host string
		want                  bool
		says                  string
	}{
		{host: "localhost:5000"},
		{flag: "loopback", host: "localhost:5000", want: true},
		{flag: "loopback", host: "r.example.org", says: "another machine"},
		{flag: "r.example.org", host: "r.example.org", want: true},
		{flag: "r.example.org", env: "loopback", host: "localhost"},
		{flag: "none", env: "1", conf: "loopback", host: "localhost"},
		{flag: "http://r.example.org", host: "r.example.org", says: "is no host"},
		{env: "1", host: "127.0.0.1:5000", want: true},
		{env: "loopback", host: "[::1]:5000", want: true},
		{env: "true", host: "r.example.org"},
		{env: "a.example.org,b.example.org:5000", host: "b.example.org:5000", want: true},
		{env: "a.example.org,b.example.org:5000", host: "b.example.org"},
		{env: "b.example.org/roots", host: "b.example.org", says: "ROOTCTL_INSECURE"},
		{env: "none", conf: "loopback", host: "localhost"},
		{conf: "loopback", host: "localhost", want: true},
		{conf: "loopback", host: "r.example.org"},
		{conf: "r.example.org", host: "r.example.org", want: true},
		{conf: "r.example.org ,x", host: "x", says: "configuration"},
	} {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "rootctl"), 0o755); err != nil {
			t.Fatal(err)
		}
		if row.conf != "" {
			if err := os.WriteFile(filepath.Join(dir, "rootctl", "config.toml"), []byte(fmt.Sprintf("[cache]\ninsecure = %q\n", row.conf)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		a := &app{getenv: func(name string) string {
			return map[string]string{"XDG_CONFIG_HOME": dir, "ROOTCTL_INSECURE": row.env}[name]
		}}
		got, err := a.insecure(row.host, row.flag)
		if got != row.want || (err == nil) != (row.says == "") || err != nil && (!strings.Contains(err.Error(), row.says) || hintOf(err) == "") {
			t.Errorf("%+v: %v, %v", row, got, err)
		}
	}
	w := newCIWorld(t)
	r := startRegistry(t, registryWith{})
	source := t.TempDir()
	w.built(source)
	w.env = append(w.env, "ROOTCTL_INSECURE=1")
	if _, errs, code := w.do(source, "push", "fixture", r.host+"/roots:x"); code != 0 {
		t.Errorf("push: %d\n%s", code, errs)
	}
	w.env = append(w.env, "ROOTCTL_INSECURE=none")
	if _, errs, code := w.do(t.TempDir(), "pull", r.host+"/roots:x"); code != codeFailed || !strings.Contains(errs, "plain HTTP") {
		t.Errorf("pull: %d\n%s", code, errs)
	}
}
