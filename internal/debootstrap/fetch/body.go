package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptrace"
	"time"
)

const (
	alive     = 1 << 10   // bytes that must come within the stall time
	telling   = 128 << 10 // bytes from which on a transfer's speed means something
	chunkSize = 64 << 10
)

// transfer is one answer being read under a stall clock.
type transfer struct {
	*http.Response
	c      *Client
	r      Request
	stall  *time.Timer
	cancel context.CancelCauseFunc
	ctx    context.Context
	idle   int64 // bytes since the clock was set
}

// do sends req. The answer must be closed, whatever its status.
func (c *Client) do(ctx context.Context, r Request, change func(*http.Request)) (*transfer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := c.newRequest(ctx, r)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	if change != nil {
		change(req)
	}
	stall := cmp.Or(c.Stall, defaultStall)
	t := &transfer{c: c, r: r, cancel: cancel, ctx: ctx}
	t.stall = time.AfterFunc(math.MaxInt64, func() {
		cancel(fmt.Errorf("%w: nothing came for %v", ErrStalled, stall))
	})
	// Before there is a connection, its own time-outs hold; or it is others' turn, for any time.
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { t.stall.Reset(stall) }}
	t.Response, err = c.client().Do(req.WithContext(httptrace.WithClientTrace(ctx, trace)))
	if err != nil {
		err = t.explain(err)
		t.close()
		return nil, err
	}
	t.stall.Reset(stall)
	return t, nil
}

// explain names the reason for which a request or a read failed.
func (t *transfer) explain(err error) error {
	if cause := context.Cause(t.ctx); cause != nil {
		return cause
	}
	return netError{err}
}

func (t *transfer) close() {
	t.stall.Stop()
	t.cancel(nil)
	if t.Response != nil {
		t.Body.Close()
	}
}

// discard reads what little an error's answer says, so that the connection can be used again.
func (t *transfer) discard() {
	_, _ = io.CopyN(io.Discard, t.Body, 16<<10) // it is of no interest if that fails
}

// copy writes the body to w. A body of more than limit bytes is ErrSize.
func (t *transfer) copy(w io.Writer, limit int64) (n int64, err error) {
	buf := make([]byte, min(chunkSize, limit+1))
	began := time.Now()
	half, halfAt := int64(0), time.Time{}
	for {
		k, err := t.Body.Read(buf)
		t.feed(int64(k))
		n += int64(k)
		if n > limit {
			return n, fmt.Errorf("%w: more than %d bytes", ErrSize, limit)
		}
		if k > 0 {
			if _, err := w.Write(buf[:k]); err != nil {
				return n, err
			}
			if t.r.OnBytes != nil {
				t.r.OnBytes(int64(k))
			}
		}
		if halfAt.IsZero() && t.ContentLength >= telling && n >= t.ContentLength/2 {
			half, halfAt = n, time.Now()
		}
		if errors.Is(err, io.EOF) {
			if n-half >= telling/4 {
				t.measure(n-half, halfAt)
			} else if n >= telling { // it came in one rush: no slower than all of it since the answer
				t.measure(n, began)
			}
			return n, nil
		}
		if err != nil {
			return n, t.explain(err)
		}
	}
}

// feed puts the stall clock back once enough has come: a server that trickles is stalled, too.
func (t *transfer) feed(n int64) {
	if t.idle += n; t.idle >= alive {
		t.idle = 0
		t.stall.Reset(cmp.Or(t.c.Stall, defaultStall))
	}
}

// measure notes the speed of n bytes, best those of the second half of a transfer: the first is TCP's
// slow start.
func (t *transfer) measure(n int64, since time.Time) {
	if since.IsZero() {
		return
	}
	d := max(time.Since(since), 50*time.Microsecond)
	t.c.rate.Store(math.Float64bits(float64(n) / d.Seconds()))
}
