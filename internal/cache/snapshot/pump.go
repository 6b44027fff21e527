package snapshot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// errChanged says that a file was not as long as it had been a moment before.
var errChanged = errors.New("changed while it was read")

const (
	chunkSize = 128 << 10 // stays in a core's L2 between its two hashes
	inFlight  = 48        // files ahead of the consumer: bounds fds and memory
)

// A job is one entry on its way through the pump.
type job struct {
	entry  Entry
	fd     int         // its content, -1 for none; the pump closes it
	chunks chan *chunk // its content, in order; closed at its end
	sum    Digest      // of the content; set before chunks is closed
	unsure bool        // sum is not wanted
}

type chunk struct {
	data [chunkSize]byte
	n    int
}

// A pump reads many files at once and hands them over one by one, in order: producer (the walk) ->
// workers (read, hash each file) -> consumer (hash or write the tar, which is sequential). Each byte is
// read once. At most inFlight files are ahead, each with at most cap(chunks)+1 chunks in memory.
//
// It cannot lock up: work goes out first in, first out, so the file that the consumer waits for always
// has a worker before any later one has, and a worker waits for nothing but the consumer.
type pump struct {
	order, work chan *job
	pool        sync.Pool
}

// run ends when all is consumed or at the first error, with every fd closed.
func run(ctx context.Context, workers int, produce func(emit func(*job) error) error,
	consume func(*job, func(func([]byte) error) error) error) error {
	p := &pump{order: make(chan *job, inFlight), work: make(chan *job, inFlight)}
	p.pool.New = func() any { return new(chunk) }
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(p.order)
		defer close(p.work)
		return produce(func(j *job) error { return p.emit(ctx, j) })
	})
	for range workers {
		g.Go(func() error { return p.worker(ctx) })
	}
	g.Go(func() error {
		for j := range p.order {
			err := consume(j, func(f func([]byte) error) error { return p.each(ctx, j, f) })
			if err != nil {
				return fmt.Errorf("%s: %w", j.entry.Path, err)
			}
		}
		return ctx.Err()
	})
	err := g.Wait()
	for j := range p.work {
		unix.Close(j.fd)
	}
	return err
}

func (p *pump) emit(ctx context.Context, j *job) error {
	if j.fd >= 0 {
		j.chunks = make(chan *chunk, 2)
	}
	select {
	case p.order <- j:
	case <-ctx.Done():
		p.drop(j)
		return ctx.Err()
	}
	if j.fd < 0 {
		return nil
	}
	select {
	case p.work <- j:
		return nil
	case <-ctx.Done():
		p.drop(j)
		return ctx.Err()
	}
}

func (p *pump) drop(j *job) {
	if j.fd >= 0 {
		unix.Close(j.fd)
	}
}

func (p *pump) worker(ctx context.Context) error {
	for {
		select {
		case j, ok := <-p.work:
			if !ok {
				return nil
			}
			err := p.read(ctx, j)
			unix.Close(j.fd)
			if err != nil {
				return fmt.Errorf("%s: %w", j.entry.Path, err)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// read sends exactly entry.Size bytes; a file that has fewer or more is an error.
func (p *pump) read(ctx context.Context, j *job) error {
	h := sha256.New()
	for left := j.entry.Size; left > 0; {
		c := p.pool.Get().(*chunk)
		n, err := readFull(j.fd, c.data[:min(left, chunkSize)])
		if err != nil {
			return err
		}
		if n == 0 {
			return errChanged
		}
		c.n = n
		if !j.unsure {
			h.Write(c.data[:n])
		}
		left -= int64(n)
		select {
		case j.chunks <- c:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	var more [1]byte
	if n, err := readFull(j.fd, more[:]); err != nil || n > 0 {
		return errors.Join(errChanged, err)
	}
	j.sum = Digest(hex.EncodeToString(h.Sum(nil)))
	close(j.chunks)
	return nil
}

func readFull(fd int, b []byte) (int, error) {
	total := 0
	for total < len(b) {
		n, err := unix.Read(fd, b[total:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return total, fmt.Errorf("read: %w", err)
		}
		if n == 0 {
			break
		}
		total += n
	}
	return total, nil
}

// each calls f with j's content, piece by piece.
func (p *pump) each(ctx context.Context, j *job, f func([]byte) error) error {
	for {
		select {
		case c, ok := <-j.chunks:
			if !ok {
				return nil
			}
			err := f(c.data[:c.n])
			p.pool.Put(c)
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
