package registry

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/cache/oci"
)

// A body that stops coming, or comes a byte at a time, ends; one that its reader leaves waiting does not.
func TestWatchedBody(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100000")
		if r.URL.Path == "/whole" {
			_, _ = w.Write(make([]byte, 100000))
			return
		}
		for range 3000 {
			_, _ = w.Write([]byte{' '})
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(30 * time.Millisecond):
			}
			if r.URL.Path == "/silent" {
				<-r.Context().Done()
				return
			}
		}
	}))
	defer s.Close()
	for _, tt := range []struct{ path, want string }{{"/silent", "nothing came"}, {"/slow", "bytes came in"}, {"/whole", ""}} {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, s.URL+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := watched(http.DefaultTransport, req)
		if err != nil {
			t.Fatal(err)
		}
		body := resp.Body.(*watchedBody)
		body.grace = 300 * time.Millisecond
		if tt.path == "/silent" {
			body.stall = 300 * time.Millisecond
		}
		if tt.path == "/whole" {
			time.Sleep(2 * body.grace)
		}
		begun := time.Now()
		_, err = io.ReadAll(resp.Body)
		var slow *slowError
		if tt.want == "" && err != nil || tt.want != "" && (!errors.As(err, &slow) || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v", tt.path, err)
		}
		if took := time.Since(begun); took > 20*time.Second {
			t.Errorf("%s took %s", tt.path, took)
		}
		resp.Body.Close()
	}
}

// What a registry says fills no second line and moves no cursor, and what is no digest becomes no part of an address.
func TestHostileWords(t *testing.T) {
	asked := make(chan string, 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.String()
		if r.URL.Path != "/v2/" {
			w.WriteHeader(http.StatusBadRequest)
		}
		_, _ = io.WriteString(w, `{"errors":[{"code":"X","message":"no\r\nrootctl: all is well\nhint: \u001b[31mrun me\u0085x"}]}`)
	}))
	defer s.Close()
	repo := openedAt(t, s.URL)
	_, _, err := repo.Manifest(context.Background(), "x")
	if err == nil || strings.ContainsAny(err.Error(), "\r\n\x1b\u0085") || !strings.Contains(err.Error(), "all is well") {
		t.Errorf("%q", err)
	}
	for len(asked) > 0 {
		<-asked
	}
	for _, digest := range []string{"../../../x?y", "sha256:../../etc", "", "sha256:" + strings.Repeat("A", 64)} {
		if b, err := repo.Small(context.Background(), oci.Descriptor{Digest: digest, Size: 5}, 100); err == nil || len(asked) > 0 {
			t.Errorf("%q: %q, %v, %d requests", digest, b, err, len(asked))
		}
	}
}

func openedAt(t *testing.T, url string) *Repository {
	t.Helper()
	ref, err := ParseRef(strings.TrimPrefix(url, "http://") + "/r")
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(ref, Options{Insecure: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}
