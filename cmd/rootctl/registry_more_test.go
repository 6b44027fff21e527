package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache/oci"
)

// fetch reads from a registry as anybody does.
func (r *realRegistry) fetch(t *testing.T, path string, into any) (text []byte, found bool) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+r.host+"/v2/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", oci.TypeManifest+", "+oci.TypeIndex)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err = io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode == http.StatusNotFound {
		return nil, false
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", path, resp.Status)
	}
	if into != nil {
		if err := json.Unmarshal(text, into); err != nil {
			t.Fatalf("%s: %v\n%s", path, err, text)
		}
	}
	return text, true
}

// referrers are the documents about an image by their types: from the referrers' list, or, where a registry has none, the
// tag that stands for it.
func (r *realRegistry) referrers(t *testing.T, repo, image string) map[string][]oci.Descriptor {
	t.Helper()
	var list struct {
		Manifests []struct {
			oci.Descriptor
			ArtifactType string `json:"artifactType"`
		} `json:"manifests"`
	}
	if _, ok := r.fetch(t, repo+"/referrers/"+image, &list); !ok {
		if _, ok := r.fetch(t, repo+"/manifests/"+strings.Replace(image, ":", "-", 1), &list); !ok {
			t.Fatalf("no list of referrers of %s", image)
		}
	}
	types := map[string][]oci.Descriptor{}
	for _, m := range list.Manifests {
		types[m.ArtifactType] = append(types[m.ArtifactType], m.Descriptor)
	}
	return types
}

// TestRegistryDocuments looks for the bill of materials and the provenance beside what is pushed, and has ensure pull it.
func TestRegistryDocuments(t *testing.T) {
	w := newCIWorld(t)
	r := startRegistry(t, registryWith{})
	one, two := t.TempDir(), t.TempDir()
	w.built(one, "--insecure", "--cache-to", r.host+"/roots", "--cache-required")
	var pushed pushReport
	for _, tag := range []string{"mine", "mine", "other"} {
		out, errs, code := w.do(one, "push", "--json", "--insecure", "fixture", r.host+"/roots:"+tag)
		if code != 0 || json.Unmarshal([]byte(out), &pushed) != nil {
			t.Fatalf("push: %d\n%s%s", code, out, errs)
		}
	}
	types := r.referrers(t, "roots", pushed.Manifest)
	if len(types) != 2 {
		t.Errorf("documents: %v", types)
	}
	for verb, kind := range map[string]string{"sbom": oci.TypeSBOM, "provenance": oci.TypeProvenance} {
		if len(types[kind]) != 1 {
			t.Errorf("%s: %v", kind, types[kind])
			continue
		}
		var a oci.Artifact
		r.fetch(t, "roots/manifests/"+types[kind][0].Digest, &a)
		if a.Subject == nil || a.Subject.Digest != pushed.Manifest || a.ArtifactType != kind || len(a.Layers) != 1 {
			t.Errorf("%s: %+v", kind, a)
			continue
		}
		text, _ := r.fetch(t, "roots/blobs/"+a.Layers[0].Digest, nil)
		want, errs, _ := w.do(one, verb, "fixture")
		if want = strings.Replace(want, `"name": "fixture"`, `"name": "bionic"`, 1); string(text) != want {
			t.Errorf("%s in the registry:\n%s\n%s of the root:\n%s%s", kind, text, verb, want, errs)
		}
	}
	args := append([]string{"ensure", "--json", "--insecure", "--cache-from", r.host + "/roots", "--cache-required"}, w.args[1:]...)
	for _, want := range []how{howPulled, howCached} {
		out, errs, code := w.do(two, withoutTag(args)...)
		var got []ensured
		if code != 0 || json.Unmarshal([]byte(out), &got) != nil || len(got) != 1 || got[0].How != want || got[0].Digest != pushed.Digest {
			t.Errorf("ensure, want %s: %d\n%s%s", want, code, out, errs)
		}
	}
	w.cleanLeft(two)
}

// withoutTag leaves out --tag NAME.
func withoutTag(args []string) (out []string) {
	for i := 0; i < len(args); i++ {
		if args[i] == "--tag" {
			i++
			continue
		}
		out = append(out, args[i])
	}
	return out
}

// A forwarder stands before a registry, at the level of TCP. What it knows is how many bytes went to the client.
type forwarder struct {
	host string
	sent atomic.Int64
	// look is called before each piece for the client.
	look func(sent int64)
}

func forward(t *testing.T, r *realRegistry, look func(sent int64)) *forwarder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f := &forwarder{host: fmt.Sprintf("localhost:%d", l.Addr().(*net.TCPAddr).Port), look: look}
	to := strings.Replace(r.host, "localhost", "127.0.0.1", 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go f.serve(c, to)
		}
	}()
	return f
}

func (f *forwarder) serve(c net.Conn, to string) {
	defer c.Close()
	s, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer s.Close()
	go func() {
		_, _ = io.Copy(s, c) // the client's end is the end of it
		s.Close()
	}()
	b := make([]byte, 16<<10)
	for {
		n, err := s.Read(b)
		if n > 0 {
			f.look(f.sent.Add(int64(n)))
			if _, e := c.Write(b[:n]); e != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// TestRegistryBreaks cuts pulls at random bytes, kills the registry and rootctl in the middle of them, and has the disk
// full: a root comes or none, and nothing is left.
func TestRegistryBreaks(t *testing.T) {
	w := newCIWorld(t)
	r := startRegistry(t, registryWith{})
	source := t.TempDir()
	made, _ := w.built(source, "--insecure")
	if _, errs, code := w.do(source, "push", "--insecure", "fixture", r.host+"/roots:x"); code != 0 {
		t.Fatal(errs)
	}
	var image oci.Manifest
	r.fetch(t, "roots/manifests/x", &image)
	size := image.Layers[0].Size
	pull := func(t *testing.T, host, cache string) (pullReport, string, int) {
		t.Helper()
		w := &ciWorld{fixture: w.fixture, t: t, env: w.env}
		out, errs, code := w.do(cache, "pull", "--json", "--insecure", "--tag", "got", host+"/roots:x")
		var rep pullReport
		if code == 0 {
			if err := json.Unmarshal([]byte(out), &rep); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if rep.Digest != made.Digest {
				t.Errorf("pulled %s, pushed %s", rep.Digest, made.Digest)
			}
		}
		return rep, errs, code
	}
	clean := func(t *testing.T, cache string) {
		t.Helper()
		(&ciWorld{fixture: w.fixture, t: t, env: w.env}).cleanLeft(cache)
	}
	t.Run("cut at random bytes", func(t *testing.T) { testCuts(t, r, size, pull, clean) })
	t.Run("the registry is killed and comes back", func(t *testing.T) {
		var once sync.Once
		at := size / 2
		f := forward(t, r, func(sent int64) {
			if sent > at {
				once.Do(func() { r.stop(); r.start(t) })
			}
		})
		cache := t.TempDir()
		if _, errs, code := pull(t, f.host, cache); code != 0 {
			t.Errorf("exit code %d\n%s", code, errs)
		}
		clean(t, cache)
	})
	t.Run("rootctl is killed", func(t *testing.T) {
		w := &ciWorld{fixture: w.fixture, t: t, env: w.env}
		calm := t.TempDir()
		start := time.Now()
		if _, errs, code := pull(t, r.host, calm); code != 0 {
			t.Fatal(errs)
		}
		took, cache := time.Since(start), t.TempDir()
		for n := range 8 {
			c := w.command(cache, "pull", "--insecure", "--tag", "got", r.host+"/roots:x")
			c.Env = append(c.Env, w.env...)
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			delay := time.Duration(n+1)*took/10 + time.Duration(rand.Int64N(int64(took)/8))
			time.Sleep(delay)
			_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
			_ = c.Wait() // it was killed, or had ended
			w.checkKilled(t, cache, fmt.Sprintf("killed after %v", delay))
		}
		if _, errs, code := pull(t, r.host, cache); code != 0 {
			t.Errorf("exit code %d\n%s", code, errs)
		}
		clean(t, cache)
	})
	t.Run("a full disk", func(t *testing.T) {
		for _, kb := range []int64{400, size / 2 >> 10, size * 3 / 2 >> 10} {
			at := filepath.Join(t.TempDir(), "small")
			if err := os.Mkdir(at, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mount("tmpfs", at, "tmpfs", 0, fmt.Sprintf("size=%dk", kb)); err != nil {
				t.Fatal(err)
			}
			func() {
				defer unix.Unmount(at, unix.MNT_DETACH)
				_, errs, code := pull(t, r.host, at)
				if code != codeFailed || !strings.Contains(errs, "full") && !strings.Contains(errs, "no space left") && !strings.Contains(errs, "room") {
					t.Errorf("%d kB: %d\n%s", kb, code, errs)
				}
				if left := leftFiles(t, at); len(left) > 0 {
					t.Errorf("%d kB: left %q", kb, left)
				}
				if err := unix.Mount("", at, "", unix.MS_REMOUNT, "size=1g"); err != nil {
					t.Fatal(err)
				}
				if _, errs, code := pull(t, r.host, at); code != 0 {
					t.Errorf("with room, after %d kB: %d\n%s", kb, code, errs)
				}
				clean(t, at)
			}()
		}
	})
}

// testCuts ends connections after random bytes; the seed is printed. Each time some bytes have come, so that it goes on.
func testCuts(t *testing.T, r *realRegistry, size int64, pull func(*testing.T, string, string) (pullReport, string, int), clean func(*testing.T, string)) {
	seed := rand.Uint64()
	if s := os.Getenv("ROOTCTL_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("ROOTCTL_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // not a secret
	m := meddle(t, r)
	for range 4 {
		var cuts []int64
		for range 1 + random.IntN(5) {
			cuts = append(cuts, random.Int64N(size))
		}
		planned := len(cuts)
		var mu sync.Mutex
		m.set(func(rw http.ResponseWriter, q *http.Request, h http.Handler) bool {
			mu.Lock()
			defer mu.Unlock()
			if len(cuts) == 0 || !strings.Contains(q.URL.Path, "/blobs/") || q.Method != http.MethodGet {
				return false
			}
			resp, b := recorded(h, q)
			n := min(cuts[0], int64(len(b)))
			cuts = cuts[1:]
			for _, k := range []string{"Content-Length", "Content-Range", "Content-Type"} {
				if v := resp.Header.Get(k); v != "" {
					rw.Header().Set(k, v)
				}
			}
			rw.WriteHeader(resp.StatusCode)
			_, _ = rw.Write(b[:n]) // the client may have gone
			panic(http.ErrAbortHandler)
		})
		cache := t.TempDir()
		if _, errs, code := pull(t, m.host, cache); code != 0 {
			t.Errorf("exit code %d\n%s", code, errs)
		}
		mu.Lock()
		if len(cuts) == planned {
			t.Error("nothing was cut")
		}
		mu.Unlock()
		clean(t, cache)
	}
}
