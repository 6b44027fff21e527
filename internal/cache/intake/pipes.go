package intake

import (
	"io"
	"sync"
	"sync/atomic"
)

// One goroutine decompresses (source), the caller's takes the archive apart, some make files (writers), and one makes the
// digest of the canonical tar (canon). Each has a channel that bounds how far ahead of it the others may be. To wake a
// goroutine costs about what making a small file does, so that small files go together.

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
		s.tar = s.tar || s.cur.n >= 262 && string(s.cur.space[257:262]) == "ustar"
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
