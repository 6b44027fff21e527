package main

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// A soakVerb is one thing that processes do. make returns its arguments, and what to hold against the output of
// those that ended well and of those that were killed: "" if it is right.
type soakVerb struct {
	name    string
	weight  int
	typical time.Duration // how long it takes, to begin with
	make    func(*soak, *rand.Rand) (args []string, judge func(ended) string)
}

func soakVerbs() []soakVerb {
	return []soakVerb{
		{"build", 8, 400 * time.Millisecond, func(s *soak, r *rand.Rand) ([]string, func(ended) string) {
			w := s.any(r)
			return append([]string{"build", "-q", "--include", w.include, "--tag", w.name}, s.args...), nil
		}},
		{"build json", 4, 400 * time.Millisecond, func(s *soak, r *rand.Rand) ([]string, func(ended) string) {
			w := s.any(r)
			args := []string{"build", "-q", "--json", "--include", w.include}
			if r.IntN(2) == 0 {
				args = append(args, "--write-layer")
			}
			return append(args, s.args...), func(e ended) string {
				if !e.killed && !strings.Contains(e.out, `"sha256:`+w.digest+`"`) {
					return e.out
				}
				return ""
			}
		}},
		{"run", 6, 120 * time.Millisecond, func(s *soak, r *rand.Rand) ([]string, func(ended) string) {
			w := s.any(r)
			name := w.name
			if r.IntN(2) == 0 { // which a collection may take, were it not in use
				name = w.digest[:12]
			}
			return []string{"run", name, "--", "sh", "-c", "sleep 0.05; for f in /usr/share/soak/*; do test ! -e $f || cat $f; done; echo > /usr/new; rm -r /usr/share"}, func(e ended) string {
				if e.out == w.text || e.killed && strings.HasPrefix(w.text, e.out) {
					return ""
				}
				return fmt.Sprintf("%q, want %q", e.out, w.text)
			}
		}},
		{"tag", 2, 15 * time.Millisecond, func(s *soak, r *rand.Rand) ([]string, func(ended) string) {
			return []string{"tag", s.any(r).name, fmt.Sprint("t", r.IntN(4))}, nil
		}},
		{"untag", 2, 15 * time.Millisecond, func(s *soak, r *rand.Rand) ([]string, func(ended) string) {
			if r.IntN(2) == 0 {
				return []string{"untag", s.any(r).name}, nil
			}
			return []string{"untag", fmt.Sprint("t", r.IntN(4))}, nil
		}},
		{"gc", 3, 60 * time.Millisecond, func(_ *soak, r *rand.Rand) ([]string, func(ended) string) {
			return []string{"cache", "gc", []string{"--all", "--max-size=1kB", "--max-size=1kB", "--max-size=30MB", "--max-size=30MB", "--max-age=1s"}[r.IntN(6)]}, nil
		}},
		{"export", 4, 150 * time.Millisecond, soakExport},
		{"import", 4, 150 * time.Millisecond, func(s *soak, r *rand.Rand) ([]string, func(ended) string) {
			w := s.any(r)
			return []string{"import", w.file, "--tag", "i" + w.name}, nil
		}},
		{"lock", 1, 40 * time.Millisecond, func(s *soak, r *rand.Rand) ([]string, func(ended) string) {
			w := s.any(r)
			at := filepath.Join(s.out, fmt.Sprintf("%d.lock", r.Uint64()))
			return append([]string{"lock", "-q", "--include", w.include, "-o", at}, s.args...), func(e ended) string {
				b, err := os.ReadFile(at)
				os.Remove(at)
				if e.killed && errors.Is(err, fs.ErrNotExist) || err == nil && json.Valid(b) {
					return ""
				}
				return fmt.Sprintf("%q, %v", b, err)
			}
		}},
		{"verify", 2, 100 * time.Millisecond, func(*soak, *rand.Rand) ([]string, func(ended) string) {
			return []string{"cache", "verify", "--roots"}, func(e ended) string {
				if strings.Contains(e.out, "BAD ") { // nothing is, but for what is half made
					return e.out
				}
				return ""
			}
		}},
		{"df", 1, 15 * time.Millisecond, func(*soak, *rand.Rand) ([]string, func(ended) string) { return []string{"cache", "df", "--json"}, nil }},
		{"why", 1, 40 * time.Millisecond, func(s *soak, r *rand.Rand) ([]string, func(ended) string) {
			return append([]string{"cache", "why", "--include", s.any(r).include}, s.args...), nil
		}},
		{"ls", 1, 15 * time.Millisecond, func(*soak, *rand.Rand) ([]string, func(ended) string) { return []string{"ls", "--json"}, nil }},
	}
}

func (s *soak) any(r *rand.Rand) soakRoot { return s.want[r.IntN(len(s.want))] }

// prepare makes what the verbs need of the undisturbed cache: tars and images of the roots.
func (s *soak) prepare(t *testing.T, calm string) {
	t.Helper()
	dir := t.TempDir()
	for i := range s.want {
		w := &s.want[i]
		w.file = filepath.Join(dir, w.name+[]string{".tar", ".tar.zst", ".oci.tar"}[i%3])
		if out, err := s.command(calm, "export", "-q", w.digest[:12], "-o", w.file).CombinedOutput(); err != nil {
			t.Fatalf("export: %v\n%s", err, out)
		}
	}
}

// soakExport writes a root in some format, and looks at what is there when the process has ended or was killed: all of
// it, or nothing.
func soakExport(s *soak, r *rand.Rand) ([]string, func(ended) string) {
	w := s.any(r)
	name := w.name
	if r.IntN(2) == 0 {
		name = w.digest[:12]
	}
	kind := []string{".tar", ".tar.zst", ".oci.tar", "/"}[r.IntN(4)]
	at := filepath.Join(s.out, fmt.Sprintf("%d", r.Uint64())) + kind
	return []string{"export", "-q", name, "-o", at}, func(e ended) string {
		defer os.RemoveAll(at)
		f, err := os.Open(at)
		if errors.Is(err, fs.ErrNotExist) && e.killed {
			return ""
		}
		if err != nil {
			return err.Error()
		}
		defer f.Close()
		switch kind {
		case ".oci.tar":
			return badBlobs(f)
		case "/":
			text := ""
			for i := range soakPackages {
				b, _ := os.ReadFile(filepath.Join(at, "usr/share/soak", fmt.Sprint("soak", i)))
				text += string(b)
			}
			if _, err := os.Stat(filepath.Join(at, "var/lib/dpkg/status")); err != nil || text != w.text {
				return fmt.Sprintf("folder has %q (%v)", text, err)
			}
			return ""
		}
		var in io.Reader = f
		if kind == ".tar.zst" {
			d, err := zstd.NewReader(f)
			if err != nil {
				return err.Error()
			}
			defer d.Close()
			in = d
		}
		h := sha256.New()
		if _, err := io.Copy(h, in); err != nil {
			return err.Error()
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != w.digest {
			return "digest " + got
		}
		return ""
	}
}

// badBlobs reads a tar of an image layout, "" if every blob has its digest.
func badBlobs(f io.Reader) string {
	n := 0
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF && n >= 3 {
			return ""
		}
		if err != nil {
			return fmt.Sprintf("%v after %d blobs", err, n)
		}
		if d := filepath.Base(h.Name); len(d) == 64 {
			n++
			sum := sha256.New()
			if _, err := io.Copy(sum, r); err != nil {
				return err.Error()
			}
			if got := hex.EncodeToString(sum.Sum(nil)); got != d {
				return h.Name + " has digest " + got
			}
		}
	}
}
