package registry

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// Bounds of patience: a registry that is asked again is given 0.3 s, then 0.6 s and so on, or what it asks for.
const (
	tries     = 4
	firstWait = 300 * time.Millisecond
	maxWait   = time.Minute // of a Retry-After
)

// patient asks again what is worth it: what a registry has no time for now, and what broke on the way.
type patient struct {
	next http.RoundTripper
	log  *slog.Logger
}

// rewound is a body that can be sent once more.
type rewound interface {
	Rewind() (io.ReadCloser, error)
}

func (p *patient) RoundTrip(req *http.Request) (*http.Response, error) {
	wait := firstWait
	for n := 1; ; n++ {
		resp, err := watched(p.next, req)
		pause, again := judge(resp, err, wait)
		if late(err) {
			n = max(n, tries-1) // it was waited for long enough
		}
		if !again || n >= tries || req.Context().Err() != nil {
			return resp, err
		}
		body, ok, bodyErr := nextBody(req)
		if bodyErr != nil || !ok {
			return resp, err
		}
		if pause > maxWait {
			p.log.Debug("the registry asks for more time than there is", "wait", pause)
			return resp, err
		}
		if resp != nil {
			_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
			resp.Body.Close()
			p.log.Debug("asking the registry again", "status", resp.StatusCode, "in", pause)
		} else {
			p.log.Debug("asking the registry again", "error", plainError(err), "in", pause)
		}
		timer := time.NewTimer(pause)
		select {
		case <-req.Context().Done():
			timer.Stop()
			return nil, req.Context().Err()
		case <-timer.C:
		}
		req = req.Clone(req.Context())
		req.Body = body
		wait *= 2
	}
}

// late holds for an answer that did not come in time.
func late(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// nextBody is the body of the next try.
func nextBody(req *http.Request) (body io.ReadCloser, ok bool, err error) {
	switch b := req.Body.(type) {
	case nil:
		return nil, true, nil
	case rewound:
		body, err = b.Rewind()
		return body, true, err
	}
	if req.Body == http.NoBody {
		return http.NoBody, true, nil
	}
	if req.GetBody == nil {
		return nil, false, nil
	}
	body, err = req.GetBody()
	return body, true, err
}

// judge says whether to ask again, and when.
func judge(resp *http.Response, err error, wait time.Duration) (time.Duration, bool) {
	wait += time.Duration(rand.Int64N(int64(wait / 4)))
	if err != nil {
		return wait, !permanent(err)
	}
	switch c := resp.StatusCode; {
	case c == http.StatusTooManyRequests, c == http.StatusRequestTimeout, c == http.StatusServiceUnavailable:
		if s := resp.Header.Get("Retry-After"); s != "" {
			if d, err := retryAfter(s, time.Now()); err == nil {
				wait = d
			}
		}
		return wait, true
	case c >= 500 && c != http.StatusNotImplemented:
		return wait, true
	}
	return 0, false
}

// retryAfter reads seconds or a date.
func retryAfter(s string, now time.Time) (time.Duration, error) {
	if n, err := strconv.ParseUint(s, 10, 20); err == nil {
		return time.Duration(n) * time.Second, nil
	}
	t, err := http.ParseTime(s)
	if err != nil {
		return 0, fmt.Errorf("read Retry-After: %w", err)
	}
	return max(t.Sub(now), 0), nil
}
