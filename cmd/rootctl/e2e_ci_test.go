//go:build e2e_ci

package main

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// countingProxy is an HTTP proxy on loopback that counts what goes through it.
type countingProxy struct {
	url                              string
	requests, bytes, debs, unchanged atomic.Int64
}

func newCountingProxy(t *testing.T) *countingProxy {
	p := &countingProxy{}
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	p.url = s.URL
	return p
}

func (p *countingProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.requests.Add(1)
	if strings.HasSuffix(r.URL.Path, ".deb") {
		p.debs.Add(1)
	}
	out := r.Clone(r.Context())
	out.RequestURI = ""
	answer, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer answer.Body.Close()
	for k, v := range answer.Header {
		w.Header()[k] = v
	}
	if answer.StatusCode == http.StatusNotModified {
		p.unchanged.Add(1)
	}
	w.WriteHeader(answer.StatusCode)
	n, _ := io.Copy(w, answer.Body) // what is cut is the client's to see
	p.bytes.Add(n)
}

func (p *countingProxy) reset() {
	p.requests.Store(0)
	p.bytes.Store(0)
	p.debs.Store(0)
	p.unchanged.Store(0)
}

// TestE2EGitHub runs the workflow of `ci init github` and action.yml on the real archives, stretch's stand-in beside them, as
// an ordinary user with sudo, as on a hosted runner: what a miss and a hit take and ask for.
func TestE2EGitHub(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	w := newJobWorld(t)
	for _, name := range []string{"bionic", "noble"} { // the real ones
		if err := os.Remove(filepath.Join(w.config, "rootctl", "suites", name+".toml")); err != nil {
			t.Fatal(err)
		}
	}
	as := append(sudoers(t, testUser), w.ofUser(t)...)
	url, sum := w.ghRelease(t)
	roots := []string{"bionic", "stretch", "bookworm", "noble"}
	job := w.githubJob(t, roots...).with(map[string]string{"version": "1.2", "sha256": sum, "url": url, "sudo": "true"})
	for i := range job.Steps {
		if job.Steps[i].Run == "make check" {
			job.Steps[i].Run = "sh -e ./check.sh; . /etc/os-release; echo this is $VERSION_CODENAME" // minbase has no make
		}
	}
	proxy := newCountingProxy(t)
	cache := newGHCache(t)
	table := "root      job    key  restore  ensure   save  first step  archive: requests, unchanged, bytes\n"
	for _, how := range []string{"built", "cached"} {
		for _, root := range roots {
			r := w.runner(t, cache, "push")
			proxy.reset()
			r.as, r.path, r.env["http_proxy"], r.env["no_proxy"] = as, r.path[1:], proxy.url, "127.0.0.1"
			env := maps.Clone(r.env)
			outputs, err := r.job(job, map[string]string{"root": root})
			if err != nil || r.failed {
				t.Fatalf("%s: %v\n%s", root, err, &r.log)
			}
			out := outputs["__1"]
			if !strings.Contains(string(r.summary), "| "+root+" | "+how+" | "+out["digest"]) || !strings.HasSuffix(string(r.summary), "checked by the job\n") ||
				out["cache-hit"] != fmt.Sprint(how == "cached") {
				t.Errorf("%s: %q\n%s\n%s", root, out, r.summary, &r.log)
			}
			if root != "stretch" && !strings.Contains(r.log.String(), "this is "+root+"\n") {
				t.Errorf("%s: %s", root, &r.log)
			}
			if how == "cached" && (proxy.debs.Load() > 0 || proxy.requests.Load() > 2 && root != "stretch") {
				t.Errorf("%s: a hit asked for %d files, %d of them packages", root, proxy.requests.Load(), proxy.debs.Load())
			}
			s := func(step string) string { return fmt.Sprintf("%.2f", r.took[step].Seconds()) }
			var first time.Duration
			for name, d := range r.took {
				if strings.HasPrefix(name, "sh -e ./check.sh") {
					first = d
				}
			}
			table += fmt.Sprintf("%-8s  %-6s %4s %8s %7s %6s %11.2f  %d, %d, %d\n", root, how, s("Key"), s("Restore"), s("Ensure"), s("Write the cache's file"), first.Seconds(),
				proxy.requests.Load(), proxy.unchanged.Load(), proxy.bytes.Load())
			w.checkEnded(t, env)
		}
	}
	t.Logf("\n%s", table)
}
