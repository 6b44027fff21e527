package intake

import (
	"fmt"
	"sync"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// canon makes the digest of the canonical tar while entries come in its order.
type canon struct {
	ch      chan []piece
	pending []piece // not yet sent
	bytes   int     // of content among them
	done    sync.WaitGroup
	off     bool
	d       *snapshot.Digester
	err     error
}

// A piece is a header, a part of a file's content, or a file's padding.
type piece struct {
	head *snapshot.Entry
	buf  *buffer // that data lies in
	data []byte
	pad  int64 // of a file of that size
}

const canonPieces = 64

func newCanon() *canon {
	c := &canon{ch: make(chan []piece, ahead), d: snapshot.NewDigester()}
	c.done.Go(func() {
		for pieces := range c.ch {
			for i := range pieces {
				if err := c.take(&pieces[i]); err != nil && c.err == nil {
					c.err = err
				}
			}
		}
	})
	return c
}

func (c *canon) take(p *piece) error {
	switch {
	case p.head != nil:
		return c.d.Head(p.head)
	case p.buf != nil:
		defer p.buf.release()
		return c.d.Content(p.data)
	}
	return c.d.Pad(p.pad)
}

// head begins an entry; the first that is out of order ends the digest.
func (c *canon) head(e *snapshot.Entry, ordered bool) {
	c.off = c.off || !ordered
	if !c.off {
		copied := *e // a writer may mend it
		c.add(piece{head: &copied})
	}
}

// content adds data, which lies in b.
func (c *canon) content(b *buffer, data []byte) {
	if !c.off {
		b.refs.Add(1)
		c.add(piece{buf: b, data: data})
	}
}

func (c *canon) pad(size int64) {
	if !c.off {
		c.add(piece{pad: size})
	}
}

func (c *canon) add(p piece) {
	c.pending = append(c.pending, p)
	if c.bytes += len(p.data); c.bytes >= chunkSize || len(c.pending) == canonPieces {
		c.flush()
	}
}

func (c *canon) flush() {
	if len(c.pending) > 0 {
		c.ch <- c.pending
		c.pending, c.bytes = make([]piece, 0, canonPieces), 0
	}
}

func (c *canon) stop() {
	if c.ch != nil {
		c.flush()
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
