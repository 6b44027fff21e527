package fetch

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

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
