package pack

import (
	"io"
	"runtime"
)

// A blockWriter packs blocks of a fixed size beside each other and writes them in order: for formats where what is
// packed twice and joined is one file to every reader. How many are packed at once is not seen in the bytes.
type blockWriter struct {
	w       io.Writer
	size    int
	pack    func(dst, block []byte) ([]byte, error) // appends the packed block to dst; called by many goroutines
	now     packed                                  // the block that is being filled
	pending []chan packed                           // oldest first
	free    []packed                                // memory to use again
	wrote   bool
	err     error
}

type packed struct {
	content, out []byte
	err          error
}

// maxPackers bounds memory.
const maxPackers = 8

func (x *blockWriter) Write(b []byte) (int, error) {
	n := 0
	for n < len(b) && x.err == nil {
		if x.now.content == nil {
			x.now = x.reuse()
		}
		take := min(len(b)-n, x.size-len(x.now.content))
		x.now.content = append(x.now.content, b[n:n+take]...)
		n += take
		if len(x.now.content) == x.size {
			x.flush()
		}
	}
	return n, x.err
}

// reuse gives memory of a block that is written.
func (x *blockWriter) reuse() packed {
	if n := len(x.free); n > 0 {
		p := x.free[n-1]
		x.free = x.free[:n-1]
		return packed{content: p.content[:0], out: p.out[:0]}
	}
	return packed{content: make([]byte, 0, x.size)}
}

// flush begins to pack the block, when no more others are being packed than there are processors.
func (x *blockWriter) flush() {
	var oldest *packed
	if len(x.pending) >= min(runtime.GOMAXPROCS(0), maxPackers) {
		p := <-x.pending[0]
		x.pending, oldest = x.pending[1:], &p
	}
	done := make(chan packed, 1) // so that the goroutine ends in any case
	p := x.now
	x.now = packed{}
	x.pending, x.wrote = append(x.pending, done), true
	go func() {
		p.out, p.err = x.pack(p.out, p.content)
		done <- p
	}()
	if oldest != nil {
		x.take(*oldest)
	}
}

// take writes the oldest block.
func (x *blockWriter) take(p packed) {
	if x.err = p.err; x.err == nil {
		_, x.err = x.w.Write(p.out)
		x.free = append(x.free, p)
	}
}

// Close packs what is left; no content at all is one empty block.
func (x *blockWriter) Close() error {
	if x.err == nil && (len(x.now.content) > 0 || !x.wrote) {
		x.flush()
	}
	for _, done := range x.pending { // after an error, too, whoever packs still is waited for
		if p := <-done; x.err == nil {
			x.take(p)
		}
	}
	x.pending = nil
	return x.err
}
