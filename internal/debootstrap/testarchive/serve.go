package testarchive

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"path"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Fault changes how requests for matching paths are answered.
type Fault struct {
	Path  string // a path.Match pattern for the whole path, or for its last element when it has no "/"
	Times int    // how many matching requests are affected; 0: all
	Skip  int    // how many matching requests pass first

	Status     int           // answered with this status instead of a body
	Header     http.Header   // added to the answer
	Truncate   int64         // bytes of body sent before the connection is cut; Content-Length stays true
	StallAfter int64         // bytes of body sent before nothing more comes; with Stall
	Stall      time.Duration // how long nothing comes; negative: until the client goes away
	Corrupt    bool          // one bit of the middle byte is wrong
	Endless    bool          // zero bytes without end, no Content-Length
	NoRange    bool          // Range is ignored, 200 and the whole body come
	WrongRange bool          // 206 with the right header and the first bytes of the file
	Body       []byte        // replaces the body
	Before     func()        // called before the answer
	After      func()        // called behind the answer: put the archive in mid-update here
	seen       int
}

// Request is one request that a Handler has answered.
type Request struct {
	Path, Range, IfModifiedSince, UserAgent string
	Status                                  int
}

// Handler serves an archive's files as a mirror does: with Last-Modified, conditional requests and
// ranges. It is safe for concurrent use, and its files may be exchanged while it serves.
type Handler struct {
	mu       sync.Mutex
	files    map[string][]byte
	modified map[string]time.Time
	faults   []*Fault
	requests []Request
	User     string // when set, requests without this user and Password are answered 401
	Password string
}

// Handler serves the archive as it is now.
func (a *Archive) Handler() *Handler {
	h := &Handler{}
	h.Set(a)
	return h
}

// Server is an archive on loopback.
type Server struct {
	*Handler
	URL string // of the mirror, with no slash at the end

	// Shut ends the server before the test does: nobody answers any more.
	Shut func()
}

// Serve serves the archive until the test ends.
func (a *Archive) Serve(t testing.TB) *Server {
	h := a.Handler()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	t.Cleanup(s.CloseClientConnections) // runs first: Close waits for what a stalled answer holds
	return &Server{Handler: h, URL: s.URL, Shut: s.Close}
}

// Set serves the state that a has now. Files that did not change keep their Last-Modified.
func (h *Handler) Set(a *Archive) {
	h.SetFiles(a.Files(), a.Date)
}

// SetFiles serves exactly these files; changed ones get the given Last-Modified.
func (h *Handler) SetFiles(files map[string][]byte, modified time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	times := map[string]time.Time{}
	for p, body := range files {
		times[p] = modified
		if bytes.Equal(h.files[p], body) {
			times[p] = h.modified[p]
		}
		if times[p].IsZero() {
			times[p] = modified
		}
	}
	h.files, h.modified = files, times
}

// Fault adds faults. The first that matches a request and is not used up is applied.
func (h *Handler) Fault(faults ...Fault) *Handler {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range faults {
		h.faults = append(h.faults, &f)
	}
	return h
}

// Reset removes all faults and forgets all requests.
func (h *Handler) Reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults, h.requests = nil, nil
}

// Requests returns what has been asked for so far, in order.
func (h *Handler) Requests() []Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]Request(nil), h.requests...)
}

// Count says how many requests matched the pattern, which is as in Fault.
func (h *Handler) Count(pattern string) int {
	n := 0
	for _, r := range h.Requests() {
		if matches(pattern, r.Path) {
			n++
		}
	}
	return n
}

func matches(pattern, p string) bool {
	if !strings.Contains(pattern, "/") {
		p = path.Base(p)
	}
	ok, err := path.Match(pattern, p)
	if err != nil {
		panic("testarchive: pattern " + pattern + ": " + err.Error())
	}
	return ok
}

func (h *Handler) pick(p string) *Fault {
	for _, f := range h.faults {
		if !matches(f.Path, p) {
			continue
		}
		f.seen++
		if f.seen > f.Skip && (f.Times == 0 || f.seen <= f.Skip+f.Times) {
			return f
		}
	}
	return nil
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
	h.mu.Lock()
	f := h.pick(p)
	h.mu.Unlock()
	if f != nil && f.Before != nil {
		f.Before()
	}
	h.mu.Lock()
	body, ok := h.files[p]
	modified := h.modified[p]
	h.mu.Unlock()
	rec := &recorder{ResponseWriter: w, status: http.StatusOK}
	defer func() {
		h.mu.Lock()
		h.requests = append(h.requests, Request{
			Path: p, Range: r.Header.Get("Range"), IfModifiedSince: r.Header.Get("If-Modified-Since"),
			UserAgent: r.UserAgent(), Status: rec.status,
		})
		h.mu.Unlock()
		if f != nil && f.After != nil {
			f.After()
		}
	}()
	user, password, _ := r.BasicAuth()
	if h.User != "" && (user != h.User || password != h.Password) {
		rec.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		http.Error(rec, "who are you?", http.StatusUnauthorized)
		return
	}
	if f != nil && f.answer(rec, r, body, modified) {
		return
	}
	if !ok && (f == nil || f.Body == nil) {
		http.Error(rec, "no such file", http.StatusNotFound)
		return
	}
	if f != nil {
		body = f.alter(body)
		if f.NoRange {
			r.Header.Del("Range")
		}
	}
	http.ServeContent(rec, r, p, modified, bytes.NewReader(body))
}

func (f *Fault) alter(body []byte) []byte {
	if f.Body != nil {
		body = f.Body
	}
	if f.Corrupt && len(body) > 0 {
		body = bytes.Clone(body)
		body[len(body)/2] ^= 1
	}
	return body
}

// answer writes the whole answer where the fault asks for one that ServeContent cannot give.
func (f *Fault) answer(w http.ResponseWriter, r *http.Request, body []byte, modified time.Time) bool {
	for k, vs := range f.Header {
		for _, v := range vs {
			w.Header().Add(k, v)
		}
	}
	body = f.alter(body)
	switch {
	case f.Status != 0:
		http.Error(w, http.StatusText(f.Status), f.Status)
	case f.Endless:
		w.WriteHeader(http.StatusOK)
		zeros := make([]byte, 64<<10)
		for r.Context().Err() == nil {
			if _, err := w.Write(zeros); err != nil {
				break
			}
		}
	case f.WrongRange && r.Header.Get("Range") != "":
		f.wrongRange(w, r, body)
	case f.Truncate > 0 || f.Stall != 0:
		f.cut(w, r, body, modified)
	default:
		return false
	}
	return true
}

// wrongRange answers a request for "bytes=N-" with the first bytes of the file, labelled as asked.
func (f *Fault) wrongRange(w http.ResponseWriter, r *http.Request, body []byte) {
	from, _, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-")
	n, err := strconv.Atoi(from)
	if err != nil || n > len(body) {
		http.Error(w, "no such range", http.StatusRequestedRangeNotSatisfiable)
		return
	}
	size := strconv.Itoa(len(body))
	w.Header().Set("Content-Range", "bytes "+from+"-"+strconv.Itoa(len(body)-1)+"/"+size)
	w.WriteHeader(http.StatusPartialContent)
	_, _ = w.Write(body[:len(body)-n]) // the client may have gone: nothing to do about it
}

// cut sends the first bytes with a true header and then stalls or cuts the connection.
func (f *Fault) cut(w http.ResponseWriter, r *http.Request, body []byte, modified time.Time) {
	limit := f.Truncate
	if f.Stall != 0 {
		limit = f.StallAfter
	}
	lw := &limited{ResponseWriter: w, left: limit}
	http.ServeContent(lw, r, r.URL.Path, modified, bytes.NewReader(body))
	if fl, ok := w.(http.Flusher); ok {
		fl.Flush()
	}
	if f.Stall < 0 {
		<-r.Context().Done()
	} else if f.Stall > 0 {
		select {
		case <-r.Context().Done():
		case <-time.After(f.Stall):
		}
	}
	panic(http.ErrAbortHandler)
}

type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Flush() {
	if f, ok := r.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// limited drops what goes beyond its limit, so that the header is that of the whole body.
type limited struct {
	http.ResponseWriter
	left int64
}

func (l *limited) Write(b []byte) (int, error) {
	n := len(b)
	if int64(n) > l.left {
		b = b[:l.left]
	}
	l.left -= int64(len(b))
	if len(b) > 0 {
		if _, err := l.ResponseWriter.Write(b); err != nil {
			return 0, err
		}
	}
	return n, nil
}
