package archive

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rootctl/rootctl/internal/debootstrap/fetch"
)

// What is said when no mirror of a suite is of use: a line each, an archived suite's own host first.
func TestNoMirrorText(t *testing.T) {
	t.Parallel()
	none := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(none.Close)
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(silent.Close)
	const nowhere, refused = "http://127.0.0.1:1/own", "http://127.0.0.1:1/debian"
	for _, c := range []struct {
		summary  string
		mirrors  []string
		archived string
		want     []string // of each line
		hint     string
		is       error
	}{
		{"one", []string{refused}, "", []string{"no usable mirror of bionic: get " + refused + "/dists/bionic/InRelease: dial tcp"}, "check the network and http_proxy", ErrOffline},
		{"archived", []string{none.URL, refused}, nowhere,
			[]string{"no usable mirror of bionic", "get " + nowhere + "/", "get " + none.URL + "/dists/bionic/Release: server says 404", "get " + refused + "/"},
			"is 127.0.0.1:1 within reach", ErrOffline},
		{"archived, and not there either", []string{refused}, none.URL, []string{"no usable", "get " + none.URL, "get " + refused}, "check the network", ErrOffline},
		{"no suite anywhere", []string{none.URL, none.URL + "/two"}, "",
			[]string{"no usable", "get " + none.URL + "/dists/bionic/Release: server says 404", "get " + none.URL + "/two/dists/bionic/Release"}, "check the mirror's URL", ErrNotFound},
		{"time-out", []string{silent.URL}, "", []string{"InRelease: stalled: nothing came for 50ms"}, "check the network", ErrOffline},
	} {
		t.Run(c.summary, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, hello())
			w.o.Client = &fetch.Client{Attempts: 1, Stall: 50 * time.Millisecond, Backoff: time.Millisecond}
			w.o.Mirrors = c.mirrors
			if c.archived != "" {
				w.o.Mirrors = append(c.mirrors, c.archived)
				w.o.Suite.Archived, w.o.Suite.Archives = true, map[string][]string{"default": {c.archived}}
			}
			_, err := Open(t.Context(), w.o)
			if !errors.Is(err, c.is) {
				t.Fatalf("%v, want %v", err, c.is)
			}
			lines := strings.Split(err.Error(), "\n  ")
			if len(lines) != len(c.want) {
				t.Fatalf("%q, want %d lines", lines, len(c.want))
			}
			for i, want := range c.want {
				if !strings.Contains(lines[i], want) || strings.Contains(lines[i], "not in the archive") {
					t.Errorf("line %d: %q, want %q", i, lines[i], want)
				}
			}
			var h interface{ Hint() string }
			if !errors.As(err, &h) || !strings.Contains(h.Hint(), c.hint) {
				t.Errorf("hint %q, want %q", h.Hint(), c.hint)
			}
		})
	}
}

// A mirror that another one stands in for is told of, without its password.
func TestPassedMirrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hello())
	none := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(none.Close)
	w.o.Mirrors = []string{none.URL, "http://user:s3cret@127.0.0.1:1", w.srv.URL}
	var mu sync.Mutex
	var told []string
	w.o.OnPassed = func(m Attempt, used string) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, m.Mirror+": "+m.Cause()+"; "+used)
	}
	w.open(t)
	want := []string{none.URL + ": it does not have the suite; " + w.srv.URL,
		"http://127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused; " + w.srv.URL}
	if d := cmp.Diff(want, told); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
