package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// Bounds of a body that comes too slowly to be of use: a server that sends nothing, or a byte now and then, is to hold
// nobody up for ever.
const (
	grace   = time.Minute // of waiting, before its speed is judged
	minRate = 100         // bytes for each second of waiting
)

// slowError is a body that stopped coming or hardly came.
type slowError struct {
	what string
	drip bool // it came all the time: another try would be as slow
}

func (e *slowError) Error() string { return e.what }

// Hint is the next step.
func (e *slowError) Hint() string {
	return "try again later; the registry, or the way there, is too slow"
}

// watched sends req, and has the answer's body end when it does not come.
func watched(next http.RoundTripper, req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	resp, err := next.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	resp.Body = &watchedBody{ReadCloser: resp.Body, cancel: cancel, stall: stall, grace: grace}
	return resp, nil
}

// A watchedBody counts only the time in which its reader waits for it.
type watchedBody struct {
	io.ReadCloser
	cancel       context.CancelFunc // of its request
	stall, grace time.Duration
	waited       time.Duration
	n            int64
}

func (b *watchedBody) Read(p []byte) (int, error) {
	var stuck atomic.Bool
	start := time.Now()
	timer := time.AfterFunc(b.stall, func() { stuck.Store(true); b.cancel() })
	n, err := b.ReadCloser.Read(p)
	timer.Stop()
	b.waited += time.Since(start)
	b.n += int64(n)
	switch {
	case err == io.EOF:
	case stuck.Load():
		err = &slowError{what: fmt.Sprintf("nothing came for %s", b.stall)}
	case b.waited > b.grace && float64(b.n) < minRate*b.waited.Seconds():
		err = &slowError{fmt.Sprintf("%d bytes came in %s", b.n, b.waited.Round(time.Second)), true}
		b.cancel()
	}
	return n, err
}

func (b *watchedBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}
