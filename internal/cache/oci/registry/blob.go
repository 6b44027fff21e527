package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rootctl/rootctl/internal/cache/oci"
)

// A Blob is read from the registry. Where the connection breaks or nothing comes for a while, it is asked for from there
// on again; a server that ignores that is read over. Its digest is for the reader to check; its size is kept to.
type Blob struct {
	r      *Repository
	ctx    context.Context
	cancel context.CancelFunc
	d      oci.Descriptor
	at     int64 // of the next byte
	body   io.ReadCloser
	stop   context.CancelFunc // of the request whose body that is
	clock  *time.Timer
	stuck  *atomic.Bool
	breaks int // since the last byte
	all    int
}

// Bounds of a blob that keeps breaking, and how long nothing may come.
const (
	maxBreaks    = 6    // without a byte between them
	maxAllBreaks = 1000 // a server that sends a byte at a time
	stall        = 30 * time.Second
)

// Blob begins to read d at offset from. Nothing is asked for before the first Read.
func (r *Repository) Blob(ctx context.Context, d oci.Descriptor, from int64) *Blob {
	b := &Blob{r: r, d: d, at: from}
	b.ctx, b.cancel = context.WithCancel(r.scoped(ctx, false))
	return b
}

// Close ends it.
func (b *Blob) Close() error {
	b.drop()
	b.cancel()
	return nil
}

func (b *Blob) drop() {
	if b.body != nil {
		b.clock.Stop()
		b.stop()
		b.body.Close()
		b.body = nil
	}
}

func (b *Blob) Read(p []byte) (int, error) {
	for {
		if b.at >= b.d.Size {
			return 0, io.EOF
		}
		err := b.ensure()
		if err == nil {
			n, e := b.body.Read(p[:min(int64(len(p)), b.d.Size-b.at)])
			if n > 0 {
				b.at += int64(n)
				b.breaks = 0
				b.clock.Reset(stall)
				return n, nil
			}
			if err = e; err == nil {
				continue
			}
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			if b.stuck.Load() {
				err = fmt.Errorf("nothing came for %s", stall)
			}
			b.drop()
		}
		if err := b.pause(err); err != nil {
			return 0, err
		}
	}
}

// pause waits before the next try, or says that there is none.
func (b *Blob) pause(cause error) error {
	var status *statusError
	if b.ctx.Err() != nil {
		return b.ctx.Err()
	}
	b.breaks++
	b.all++
	if errors.As(cause, &status) || permanent(cause) || b.breaks > maxBreaks || b.all > maxAllBreaks {
		return b.r.fail("read", cause)
	}
	b.r.log.Debug("the connection to the registry broke, going on", "at", b.at, "of", b.d.Size, "error", plainError(cause))
	if b.breaks == 1 {
		return nil
	}
	timer := time.NewTimer(firstWait << (b.breaks - 2))
	defer timer.Stop()
	select {
	case <-b.ctx.Done():
		return b.ctx.Err()
	case <-timer.C:
		return nil
	}
}

// ensure has a body that goes on at b.at.
func (b *Blob) ensure() error {
	if b.body != nil {
		return nil
	}
	if err := b.r.Connect(b.ctx); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(b.ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.r.url("/blobs/"+b.d.Digest), nil)
	if err != nil {
		stop()
		return err
	}
	if b.at > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", b.at))
	}
	resp, err := b.r.http.Do(req)
	if err != nil {
		stop()
		return err
	}
	b.body, b.stop, b.stuck = resp.Body, stop, &atomic.Bool{}
	stuck := b.stuck
	b.clock = time.AfterFunc(stall, func() { stuck.Store(true); stop() })
	if err = b.position(resp); err != nil {
		b.drop()
	}
	return err
}

// position brings the body to b.at.
func (b *Blob) position(resp *http.Response) error {
	switch {
	case resp.StatusCode == http.StatusOK:
		if resp.ContentLength >= 0 && resp.ContentLength != b.d.Size {
			return &MismatchError{"the blob's size", strconv.FormatInt(b.d.Size, 10), strconv.FormatInt(resp.ContentLength, 10)}
		}
		if b.at > 0 { // Range was ignored
			b.r.log.Debug("the registry ignores Range", "at", b.at)
			if _, err := io.CopyN(io.Discard, &ticking{resp.Body, b.clock}, b.at); err != nil {
				return fmt.Errorf("go on after a break: %w", err)
			}
		}
		return nil
	case resp.StatusCode == http.StatusPartialContent:
		if !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", b.at)) {
			return &MismatchError{"the part asked for", fmt.Sprintf("bytes from %d on", b.at), clip(resp.Header.Get("Content-Range"))}
		}
		return nil
	}
	return answer(resp)
}

// ticking tells a clock that something came.
type ticking struct {
	r     io.Reader
	clock *time.Timer
}

func (t *ticking) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if n > 0 {
		t.clock.Reset(stall)
	}
	return n, err
}
