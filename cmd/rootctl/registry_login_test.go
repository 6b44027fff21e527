package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestRegistryWaits measures that a registry that asks for time is given it.
func TestRegistryWaits(t *testing.T) {
	w := newCIWorld(t)
	r := startRegistry(t, registryWith{})
	source := t.TempDir()
	w.built(source, "--insecure")
	if _, errs, code := w.do(source, "push", "--insecure", "fixture", r.host+"/roots:x"); code != 0 {
		t.Fatal(errs)
	}
	m := meddle(t, r)
	for what, header := range map[string]func() string{
		"seconds": func() string { return "1" },
		"a date":  func() string { return time.Now().Add(2 * time.Second).UTC().Format(http.TimeFormat) },
	} {
		var mu sync.Mutex
		var refused, again time.Time
		m.set(func(rw http.ResponseWriter, q *http.Request, _ http.Handler) bool {
			mu.Lock()
			defer mu.Unlock()
			if !strings.Contains(q.URL.Path, "/manifests/") {
				return false
			}
			if refused.IsZero() {
				refused = time.Now()
				rw.Header().Set("Retry-After", header())
				rw.WriteHeader(http.StatusTooManyRequests)
				return true
			}
			if again.IsZero() {
				again = time.Now()
			}
			return false
		})
		if _, errs, code := w.do(t.TempDir(), "pull", "--insecure", m.host+"/roots:x"); code != 0 {
			t.Errorf("%s: %d\n%s", what, code, errs)
		}
		mu.Lock()
		if d := again.Sub(refused); d < time.Second {
			t.Errorf("%s: asked again after %v", what, d)
		}
		mu.Unlock()
	}
}

// TestRegistryHelpers logs in with credential helpers that answer well, too much, nothing of use, and that have names of
// files; and pulls as an ordinary user.
func TestRegistryHelpers(t *testing.T) {
	w := newCIWorld(t)
	r := startRegistry(t, registryWith{login: true})
	w.env = []string{"DOCKER_CONFIG=" + dockerConfig(t, r.host, "s3cret-w0rd")}
	source := t.TempDir()
	made, _ := w.built(source, "--insecure")
	ref := r.host + "/roots:x"
	for _, to := range []string{ref, r.host + "/roots"} {
		if _, errs, code := w.do(source, "push", "--insecure", "fixture", to); code != 0 {
			t.Fatal(errs)
		}
	}
	bin := t.TempDir()
	for name, script := range map[string]string{
		"good":    `read host; [ "$1 $host" = "get ` + r.host + `" ] && echo '{"ServerURL":"x","Username":"builder","Secret":"s3cret-w0rd"}'`,
		"endless": `while :; do echo s3cret-w0rd; done`,
		"strange": `echo s3cret-w0rd`,
		"none":    `echo credentials not found in native keychain; exit 1`,
		"failing": `echo s3cret-w0rd >&2; exit 3`,
	} {
		if err := os.WriteFile(filepath.Join(bin, "docker-credential-"+name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct{ config, says string }{
		{`{"credHelpers": {"HOST": "good"}}`, ""},
		{`{"credsStore": "good"}`, ""},
		{`{"credsStore": "none"}`, "log in first"},
		{`{"credHelpers": {"HOST": "endless"}}`, "more than 65536 bytes"},
		{`{"credHelpers": {"HOST": "strange"}}`, "something else than a login"},
		{`{"credHelpers": {"HOST": "failing"}}`, "it failed"},
		{`{"credHelpers": {"HOST": "missing"}}`, "no such program"},
		{`{"credHelpers": {"HOST": "../../bin/sh"}}`, "no name of a program"},
		{`{"credsStore": "x/good"}`, "no name of a program"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(strings.ReplaceAll(row.config, "HOST", r.host)), 0o600); err != nil {
			t.Fatal(err)
		}
		w.env = []string{"DOCKER_CONFIG=" + dir, "PATH=" + bin + ":" + os.Getenv("PATH")}
		out, errs, code := w.do(t.TempDir(), "-v", "pull", "--insecure", ref)
		if (code == 0) != (row.says == "") || !strings.Contains(errs, row.says) || strings.Contains(out+errs, "w0rd") {
			t.Errorf("%s: %d\n%s%s", row.config, code, out, errs)
		}
	}
	t.Run("an ordinary user", func(t *testing.T) {
		o := w.as(t, false)
		file, err := os.ReadFile(filepath.Join(dockerConfig(t, r.host, "s3cret-w0rd"), "config.json"))
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(o.home, ".docker")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "config.json"), file, 0o644); err != nil { // a test's password
			t.Fatal(err)
		}
		o.must(t, "pull", "--insecure", "--tag", "got", ref)
		if out := o.must(t, "run", "got", "stat", "-c", "%u:%g", "/etc/passwd"); out != "0:0\n" {
			t.Errorf("owner of /etc/passwd: %q", out)
		}
		out := o.must(t, append([]string{"build", "--json", "--cache", filepath.Join(o.home, "second"), "--insecure", "--cache-from", r.host + "/roots", "--cache-required"}, o.args[1:]...)...)
		var got buildReport
		if err := json.Unmarshal([]byte(out), &got); err != nil || got.How != howPulled || got.Digest != made.Digest {
			t.Errorf("build: %v %s", err, out)
		}
		for _, cache := range []string{o.cache(), filepath.Join(o.home, "second")} {
			if left := leftFiles(t, cache); len(left) > 0 {
				t.Errorf("left %q", left)
			}
		}
	})
}
