package intake

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// One goroutine decompresses (source), the caller's takes the archive apart, some make small files (writers), and one
// makes the digest of the canonical tar (canon). Each has a channel that bounds how far ahead of it the others may be.

const (
	chunkSize = 128 << 10
	ahead     = 32
	block     = 512 // of a tar
)

// A buffer is shared by those who read it and goes back to its pool with the last.
type buffer struct {
	space [chunkSize]byte
	n     int
	refs  atomic.Int32
}

var buffers = sync.Pool{New: func() any { return new(buffer) }}

func newBuffer() *buffer {
	b := buffers.Get().(*buffer)
	b.n = 0
	b.refs.Store(1)
	return b
}

func (b *buffer) bytes() []byte { return b.space[:b.n] }

func (b *buffer) release() {
	if b.refs.Add(-1) == 0 {
		buffers.Put(b)
	}
}

// A source reads ahead. It is an io.Reader for one goroutine.
type source struct {
	ch    chan *buffer
	quit  chan struct{}
	done  sync.WaitGroup
	cur   *buffer
	at    int
	err   error // of the reading goroutine, good once ch is closed
	ended bool  // the reader has been told of the end
	tar   bool  // it began as a tar of today does
}

func startSource(r io.Reader) *source {
	s := &source{ch: make(chan *buffer, ahead), quit: make(chan struct{})}
	s.done.Go(func() {
		defer close(s.ch)
		for {
			b := newBuffer()
			n, err := io.ReadFull(r, b.space[:])
			if err == io.ErrUnexpectedEOF && n > 0 {
				err = nil // the next read says what it is
			}
			b.n = n
			if n > 0 {
				select {
				case s.ch <- b:
				case <-s.quit:
					return
				}
			}
			if err != nil {
				s.err = err
				return
			}
		}
	})
	return s
}

func (s *source) Read(p []byte) (int, error) {
	if s.cur == nil || s.at == s.cur.n {
		if s.cur != nil {
			s.cur.release()
		}
		var ok bool
		if s.cur, ok = <-s.ch; !ok {
			s.cur, s.at = nil, 0
			s.ended = true
			return 0, s.err
		}
		s.at = 0
		s.tar = s.tar || s.cur.n > block && string(s.cur.space[257:262]) == "ustar"
	}
	n := copy(p, s.cur.bytes()[s.at:])
	s.at += n
	return n, nil
}

// failed is what ended the stream early, nil if it has not.
func (s *source) failed() error {
	if s.ended && s.err != io.EOF {
		return s.err
	}
	return nil
}

func (s *source) stop() {
	close(s.quit)
	for range s.ch { // so that it is not stuck in a send
	}
	s.done.Wait()
}

// A job is a small file to be made.
type job struct {
	dir  *dirFD
	base string
	buf  *buffer
	to   *content
}

type writers struct {
	u       *Unpacker
	jobs    chan *job
	pending sync.WaitGroup
	workers sync.WaitGroup
	ctx     context.Context
	fail    context.CancelCauseFunc
}

func startWriters(ctx context.Context, u *Unpacker) *writers {
	w := &writers{u: u, jobs: make(chan *job, ahead)}
	w.ctx, w.fail = context.WithCancelCause(ctx)
	for range min(runtime.GOMAXPROCS(0), 4) {
		w.workers.Go(func() {
			for j := range w.jobs {
				w.run(j)
			}
		})
	}
	return w
}

func (w *writers) run(j *job) {
	defer w.pending.Done()
	defer j.dir.release()
	defer j.buf.release()
	if w.ctx.Err() != nil {
		return
	}
	if err := w.u.write(j); err != nil {
		w.fail(&MemberError{j.to.meta.Path, err})
	}
}

func (w *writers) do(j *job) {
	w.pending.Add(1)
	w.jobs <- j
}

// failed is the first writer's error, or the context's.
func (w *writers) failed() error {
	if w.ctx.Err() == nil {
		return nil
	}
	return context.Cause(w.ctx)
}

// wait waits until all files handed over are made.
func (w *writers) wait() error {
	w.pending.Wait()
	return w.failed()
}

func (w *writers) stop() {
	if w.jobs != nil {
		close(w.jobs)
		w.workers.Wait()
		w.jobs = nil
		w.fail(nil)
	}
}

// canon makes the digest of the canonical tar while entries come in its order.
type canon struct {
	ch   chan piece
	done sync.WaitGroup
	off  bool
	d    *snapshot.Digester
	err  error
}

type piece struct {
	head *snapshot.Entry
	buf  *buffer
	pad  int64 // of a file of that size
}

func newCanon() *canon {
	c := &canon{ch: make(chan piece, ahead), d: snapshot.NewDigester()}
	c.done.Go(func() {
		for p := range c.ch {
			if err := c.take(p); err != nil && c.err == nil {
				c.err = err
			}
		}
	})
	return c
}

func (c *canon) take(p piece) error {
	switch {
	case p.head != nil:
		return c.d.Head(p.head)
	case p.buf != nil:
		defer p.buf.release()
		return c.d.Content(p.buf.bytes())
	}
	return c.d.Pad(p.pad)
}

// head begins an entry; the first that is out of order ends the digest.
func (c *canon) head(e *snapshot.Entry, ordered bool) {
	c.off = c.off || !ordered
	if !c.off {
		copied := *e // a writer may mend it
		c.ch <- piece{head: &copied}
	}
}

func (c *canon) content(b *buffer) {
	if !c.off {
		b.refs.Add(1)
		c.ch <- piece{buf: b}
	}
}

func (c *canon) pad(size int64) {
	if !c.off {
		c.ch <- piece{pad: size}
	}
}

func (c *canon) stop() {
	if c.ch != nil {
		close(c.ch)
		c.done.Wait()
		c.ch = nil
	}
}

// end returns the digest and size of the tar.
func (c *canon) end() (snapshot.Digest, int64, error) {
	c.stop()
	if c.err != nil {
		return "", 0, fmt.Errorf("hash the root: %w", c.err)
	}
	return c.d.End()
}
