package fetch

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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
func (s *sink) Reset() error  { s.resets++; s.Buffer.Reset(); return nil }

func quick() *Client {
	return &Client{Stall: 250 * time.Millisecond, Connect: time.Second, Backoff: time.Millisecond}
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

func TestWrite(t *testing.T) {
	var got atomic.Int64
	d := &sink{}
	c := quick()
	u := serve(t, serveContent)
	r := Request{URL: u + "/f", OnBytes: func(n int64) { got.Add(n) }}
	if err := c.Write(t.Context(), r, int64(len(content)), d); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(d.Bytes(), content) || got.Load() != int64(len(content)) {
		t.Errorf("%d bytes, %d counted", d.Len(), got.Load())
	}
	if c.Rate() < 1<<20 {
		t.Errorf("rate %.0f on loopback", c.Rate())
	}
	for _, size := range []int64{int64(len(content)) - 1, int64(len(content)) + 1} {
		err := c.Write(t.Context(), r, size, &sink{})
		if !errors.Is(err, ErrSize) || Offline(err) {
			t.Errorf("size %d: %v", size, err)
		}
	}
}

// TestResume cuts or stalls every answer, or misbehaves on the continuation.
func TestResume(t *testing.T) {
	cut := func(w http.ResponseWriter, r *http.Request, at int) bool {
		if r.Header.Get("Range") != "" {
			return false
		}
		w.Header().Set("ETag", `"a"`)
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = w.Write(content[:at]) // the connection goes anyway
		w.(http.Flusher).Flush()
		return true
	}
	const at = 100000
	for _, c := range []struct {
		summary string
		h       http.HandlerFunc
		resets  int // beside the one of each whole answer
	}{
		{"cut", func(w http.ResponseWriter, r *http.Request) {
			if cut(w, r, at) {
				panic(http.ErrAbortHandler)
			}
			if got := r.Header.Get("Range") + r.Header.Get("If-Range"); got != `bytes=100000-"a"` {
				t.Errorf("asked for %s", got)
			}
			w.Header().Set("ETag", `"a"`)
			serveContent(w, r)
		}, 1},
		{"stall", func(w http.ResponseWriter, r *http.Request) {
			if cut(w, r, at) {
				<-r.Context().Done()
				return
			}
			w.Header().Set("ETag", `"a"`)
			serveContent(w, r)
		}, 1},
		{"range ignored", func(w http.ResponseWriter, r *http.Request) {
			if cut(w, r, at) {
				panic(http.ErrAbortHandler)
			}
			r.Header.Del("Range")
			serveContent(w, r)
		}, 2},
		{"changed between", func(w http.ResponseWriter, r *http.Request) {
			if cut(w, r, at) {
				panic(http.ErrAbortHandler)
			}
			w.Header().Set("ETag", `"b"`)
			serveContent(w, r)
		}, 2},
		{"wrong range", func() http.HandlerFunc {
			n := 0
			return func(w http.ResponseWriter, r *http.Request) {
				if n++; n == 1 {
					cut(w, r, at)
					panic(http.ErrAbortHandler)
				}
				if r.Header.Get("Range") != "" {
					w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(content)-at-1, len(content)))
					w.WriteHeader(http.StatusPartialContent)
					_, _ = w.Write(content[:len(content)-at])
					return
				}
				serveContent(w, r)
			}
		}(), 3},
		{"416", func() http.HandlerFunc {
			n := 0
			return func(w http.ResponseWriter, r *http.Request) {
				switch n++; n {
				case 1:
					cut(w, r, at)
					panic(http.ErrAbortHandler)
				case 2:
					w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				default:
					serveContent(w, r)
				}
			}
		}(), 3},
		{"503 with Retry-After, then all is well", func() http.HandlerFunc {
			n := 0
			return func(w http.ResponseWriter, r *http.Request) {
				if n++; n == 1 {
					w.Header().Set("Retry-After", "0")
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
				serveContent(w, r)
			}
		}(), 1},
	} {
		t.Run(c.summary, func(t *testing.T) {
			d := &sink{}
			if err := quick().Write(t.Context(), Request{URL: serve(t, c.h)}, int64(len(content)), d); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(d.Bytes(), content) {
				t.Errorf("%d bytes, not the file's", d.Len())
			}
			if d.resets != c.resets {
				t.Errorf("%d resets, want %d", d.resets, c.resets)
			}
		})
	}
}

// TestHeld begins with what an earlier process left behind.
func TestHeld(t *testing.T) {
	var asked []string
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get("Range"))
		serveContent(w, r)
	})
	for _, held := range []int{0, 1, 1000, len(content), len(content) + 1} {
		d := &sink{}
		d.Write(append(bytes.Clone(content), 'x')[:held])
		if err := quick().Write(t.Context(), Request{URL: u}, int64(len(content)), d); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(d.Bytes(), content) {
			t.Errorf("held %d: %d bytes", held, d.Len())
		}
	}
	if got := strings.Join(asked, ","); got != ",bytes=1-,bytes=1000-," {
		t.Errorf("asked for %s", got)
	}
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

func TestDowngrade(t *testing.T) {
	plain := serve(t, serveContent)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/down" {
			http.Redirect(w, r, plain, http.StatusFound)
			return
		}
		serveContent(w, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	c := quick()
	c.TLS = &tls.Config{RootCAs: pool}
	if _, err := c.Read(t.Context(), Request{URL: s.URL}, 1<<20, Validators{}); err != nil {
		t.Error(err)
	}
	if _, err := c.Read(t.Context(), Request{URL: s.URL + "/down"}, 1<<20, Validators{}); !errors.Is(err, ErrRedirect) {
		t.Errorf("https to http: %v", err)
	}
	if _, err := quick().Read(t.Context(), Request{URL: s.URL}, 1<<20, Validators{}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("unknown authority: %v", err)
	}
}

// TestSecrets makes everything fail that has a password in it, and looks for the password.
func TestSecrets(t *testing.T) {
	const user, secret = "anna", "s3cr%2Ft"
	var logged bytes.Buffer
	var mode atomic.Value
	var authorized atomic.Int32
	other := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the password went to another host")
		}
		w.WriteHeader(http.StatusNotFound)
	})
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if a, b, _ := r.BasicAuth(); a == user && b == "s3cr/t" {
			authorized.Add(1)
		}
		switch mode.Load() {
		case "redirect":
			http.Redirect(w, r, strings.Replace(other, "127.0.0.1", "localhost", 1), http.StatusFound)
		case "location":
			w.Header().Set("Location", "http://"+user+":"+secret+"@h:x y/")
			w.WriteHeader(http.StatusFound)
		case "abort":
			panic(http.ErrAbortHandler)
		default:
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	withPassword := strings.Replace(u, "http://", "http://"+user+":"+secret+"@", 1)
	c := quick()
	c.Log = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var said strings.Builder
	for _, m := range []string{"401", "redirect", "location", "abort"} {
		mode.Store(m)
		_, err := c.Read(t.Context(), Request{URL: withPassword}, 10, Validators{})
		if err == nil {
			t.Errorf("%s: no error", m)
		}
		for e := err; e != nil; e = errors.Unwrap(e) {
			if _, ok := e.(*Error); ok {
				fmt.Fprintln(&said, e)
			}
		}
	}
	if authorized.Load() < 4 {
		t.Errorf("authorized %d times", authorized.Load())
	}
	for _, raw := range []string{
		"http://anna:s3cr%2Ft@127.0.0.1:1/", "https://anna:s3cr%2Ft@127.0.0.1:1/", "http://anna:s3cr%2Ft@no such host/",
		"http://anna:s3cr%zzt@h/", "http://anna:s3cr t@h/", "http://anna:s3cr/t@h/", "ftp://anna:s3cr@h/", "http://anna:s3cr%2Ft@[::1/",
	} {
		_, err := c.Read(t.Context(), Request{URL: raw}, 10, Validators{})
		fmt.Fprintln(&said, err)
	}
	proxied := quick()
	proxied.Proxy = func(*http.Request) (*url.URL, error) {
		return nil, errors.New(`invalid proxy address "http://anna:s3cr@t@proxy:x/"`)
	}
	_, err := proxied.Read(t.Context(), Request{URL: u}, 10, Validators{})
	fmt.Fprintln(&said, err)
	for _, text := range []string{said.String(), logged.String()} {
		if text == "" || strings.Contains(text, "s3cr") || strings.Contains(text, user) {
			t.Errorf("says\n%s", text)
		}
	}
}

func TestProxy(t *testing.T) {
	var seen string
	p := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen = r.URL.String() + " " + r.Header.Get("Proxy-Authorization")
		serveContent(w, r)
	})
	c := quick()
	c.Proxy = func(*http.Request) (*url.URL, error) {
		return url.Parse(strings.Replace(p, "http://", "http://u:p@", 1))
	}
	if _, err := c.Read(t.Context(), Request{URL: "http://archive.invalid/x"}, 1<<20, Validators{}); err != nil {
		t.Fatal(err)
	}
	if seen != "http://archive.invalid/x Basic dTpw" {
		t.Errorf("the proxy saw %s", seen)
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

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"":                                     "",
		"http://h/p@q":                         "http://h/p@q",
		"http://u:p@h/x":                       "http://h/x",
		"http://u@h":                           "http://h",
		"a http://u:p@q@h b https://v@i?x=a@b": "a http://h b https://i?x=a@b",
		`"http://u:p@h"`:                       `"http://h"`,
		"://":                                  "://",
	} {
		if got := Redact(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("anna", "s3cret", "/x?y#z", "get ", " failed")
	f.Add("a@b:c/d", "p@:/? #\"'<>", "", "http://", "@")
	f.Fuzz(func(t *testing.T, user, password, rest, before, after string) {
		const mark = "\u2620"
		raw := (&url.URL{Scheme: "http", User: url.UserPassword(user+mark, mark+password), Host: "h", Path: "/p"}).String()
		for _, got := range []string{RedactURL(raw), Redact(before + " " + raw + " " + after)} {
			if strings.Contains(got, url.PathEscape(mark)) || !strings.Contains(got, "http://h/p") && !strings.Contains(before, "://") {
				t.Fatalf("%q: %q", raw, got)
			}
		}
		if out := Redact(rest); len(out) > len(rest) || Redact(out) != out && !strings.Contains(rest, "@") {
			t.Fatalf("%q: %q", rest, out)
		}
	})
}
