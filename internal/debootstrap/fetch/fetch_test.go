package fetch

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// sink is a file in memory.
type sink struct {
	bytes.Buffer
	resets int
}

func (s *sink) Offset() int64 { return int64(s.Len()) }

func (s *sink) Reset() error { s.resets++; s.Buffer.Reset(); return nil }

func quick() *Client {
	return &Client{Stall: 500 * time.Millisecond, Connect: time.Second, Backoff: time.Millisecond}
}

func serve(t *testing.T, h http.HandlerFunc) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	t.Cleanup(s.CloseClientConnections)
	return s.URL
}

var content = bytes.Repeat([]byte("0123456789abcdef"), 16<<10) // 256 KB

func serveContent(w http.ResponseWriter, r *http.Request) {
	http.ServeContent(w, r, "f", time.Unix(1e9, 0), bytes.NewReader(content))
}

func TestFailures(t *testing.T) {
	endless := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 32<<10)); err != nil {
				return
			}
		}
	}
	trickle := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = w.Write([]byte{0})
			w.(http.Flusher).Flush()
			time.Sleep(20 * time.Millisecond)
		}
	}
	status := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(n) }
	}
	for _, c := range []struct {
		summary string
		h       http.HandlerFunc
		want    error
		offline bool
		times   int32
	}{
		{"endless", endless, ErrSize, false, 1},
		{"trickle", trickle, ErrStalled, true, 3},
		{"silent", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, ErrStalled, true, 3},
		{"404", status(404), ErrNotFound, false, 1},
		{"410", status(410), ErrNotFound, false, 1},
		{"401", status(401), ErrDenied, false, 1},
		{"403", status(403), ErrDenied, false, 1},
		{"429", status(429), nil, true, 3},
		{"500", status(500), nil, true, 3},
		{"304 unasked", status(304), nil, false, 1},
		{"206 unasked", status(206), nil, false, 1},
		{"cut", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			panic(http.ErrAbortHandler)
		}, nil, true, 3},
		{"loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x", http.StatusFound) }, ErrRedirect, true, 10},
		{"to a file", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}, ErrRedirect, true, 1},
	} {
		t.Run(c.summary, func(t *testing.T) {
			var times atomic.Int32
			u := serve(t, func(w http.ResponseWriter, r *http.Request) { times.Add(1); c.h(w, r) })
			r := Request{URL: u, Attempts: 3}
			_, err := quick().Read(t.Context(), r, 10000, Validators{})
			if err == nil || c.want != nil && !errors.Is(err, c.want) || Offline(err) != c.offline || times.Load() != c.times {
				t.Errorf("read: %d times, offline %v: %v", times.Load(), Offline(err), err)
			}
			times.Store(0)
			err = quick().Write(t.Context(), r, 10000, &sink{})
			if err == nil || c.want != nil && !errors.Is(err, c.want) || Offline(err) != c.offline || times.Load() != c.times {
				t.Errorf("write: %d times, offline %v: %v", times.Load(), Offline(err), err)
			}
		})
	}
	for _, u := range []string{"", "x", "ftp://h/x", "http://", "http://a b/", "file:x", "file://host/x", "file:///none"} {
		if _, err := quick().Read(t.Context(), Request{URL: u}, 10, Validators{}); err == nil || Offline(err) {
			t.Errorf("%q: %v", u, err)
		}
	}
	if _, err := quick().Read(t.Context(), Request{URL: "http://127.0.0.1:1/"}, 10, Validators{}); !Offline(err) {
		t.Errorf("closed port: %v", err)
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	u := serve(t, func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
	_, err := (&Client{}).Read(ctx, Request{URL: u}, 10, Validators{})
	if !errors.Is(err, context.Canceled) || Offline(err) {
		t.Errorf("%v", err)
	}
}

// TestQueue has more requests than connections, each slower than the stall time allows to wait.
func TestQueue(t *testing.T) {
	var open, most atomic.Int32
	u := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if n := open.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer open.Add(-1)
		time.Sleep(150 * time.Millisecond)
		_, _ = w.Write([]byte("x"))
	})
	c := quick()
	c.Conns, c.Attempts = 2, 1
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if _, err := c.Read(t.Context(), Request{URL: u}, 1, Validators{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most.Load() > 2 {
		t.Errorf("%d connections at a time", most.Load())
	}
}

func TestConditional(t *testing.T) {
	u := serve(t, serveContent)
	d, err := quick().Read(t.Context(), Request{URL: u}, 1<<20, Validators{})
	if err != nil || !bytes.Equal(d.Body, content) || d.Validators.LastModified == "" {
		t.Fatalf("%d bytes, %+v: %v", len(d.Body), d.Validators, err)
	}
	d, err = quick().Read(t.Context(), Request{URL: u}, 1<<20, d.Validators)
	if err != nil || !d.NotModified || len(d.Body) > 0 || d.Validators.LastModified == "" {
		t.Fatalf("again: %+v, %v", d, err)
	}
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a b+c~1.deb")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	u := (&url.URL{Scheme: "file", Path: name}).String()
	d := &sink{}
	d.Write(content[:100])
	if err := quick().Write(t.Context(), Request{URL: u}, int64(len(content)), d); err != nil || !bytes.Equal(d.Bytes(), content) {
		t.Errorf("%d bytes: %v", d.Len(), err)
	}
	if err := quick().Write(t.Context(), Request{URL: u}, 10, &sink{}); !errors.Is(err, ErrSize) {
		t.Errorf("size: %v", err)
	}
	if err := quick().Write(t.Context(), Request{URL: u + "x"}, 10, &sink{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("absent: %v", err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := quick().Read(t.Context(), Request{URL: "file://" + fifo}, 10, Validators{}); err == nil {
		t.Error("read a fifo")
	}
}
