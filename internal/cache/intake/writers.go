package intake

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A job is for one writer: a batch of small files, or a big one.
type job struct {
	files []newFile
	buf   *buffer      // contents of the small ones, one after another
	parts chan *buffer // of the big one; closed after the last
}

type newFile struct {
	dir  *dirFD
	base string
	to   *content
	at   int // in the job's buf
}

// Small files go together while they have room in one buffer. A flush every so many bytes keeps the disk busy meanwhile.
const (
	batchFiles = 24
	flushEvery = 24 << 20
)

func (j *job) release() {
	if j.buf != nil {
		j.buf.release()
	}
	if j.parts != nil {
		for b := range j.parts { // the reader may be waiting for room
			b.release()
		}
	}
	for i := range j.files {
		j.files[i].dir.release()
	}
}

type writers struct {
	u       *Unpacker
	jobs    chan *job
	batch   *job // not yet handed over
	pending sync.WaitGroup
	workers sync.WaitGroup
	ctx     context.Context
	fail    context.CancelCauseFunc

	unflushed atomic.Int64 // bytes written since the disk was last asked to
	flushing  atomic.Bool
	flushes   sync.WaitGroup
}

// written counts n bytes of content. Each flushEvery of them the file system begins to write out what it has, so that
// less is left to wait for at the end. A failure is an import's failure: whoever asks later is not told of it.
func (w *writers) written(n int) {
	if w.u.o.Later {
		return
	}
	if w.unflushed.Add(int64(n)) < flushEvery || !w.flushing.CompareAndSwap(false, true) {
		return
	}
	w.unflushed.Store(0)
	w.flushes.Go(func() {
		defer w.flushing.Store(false)
		if err := unix.Syncfs(w.u.fd); err != nil {
			w.fail(fmt.Errorf("write out: %w", err))
		}
	})
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
	defer j.release()
	for i := range j.files {
		if w.ctx.Err() != nil {
			return
		}
		f := &j.files[i]
		var err error
		if j.parts != nil {
			err = w.u.writeBig(f, j.parts)
		} else {
			err = w.u.write(f, j.buf.space[f.at:f.at+int(f.to.meta.Size)])
		}
		if err != nil {
			w.fail(&MemberError{f.to.meta.Path, err})
		}
	}
}

// room returns the batch, with room for a file of size bytes, which are at most chunkSize.
func (w *writers) room(size int64) *job {
	if w.batch != nil && (len(w.batch.files) == batchFiles || int64(w.batch.buf.n)+size > chunkSize) {
		w.flush()
	}
	if w.batch == nil {
		w.batch = &job{buf: newBuffer(), files: make([]newFile, 0, batchFiles)}
	}
	return w.batch
}

func (w *writers) flush() {
	if j := w.batch; j != nil {
		w.batch = nil
		w.do(j)
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
	w.flush()
	w.pending.Wait()
	return w.failed()
}

// stop ends the writers. What they have not begun is left undone.
func (w *writers) stop() {
	if w.jobs != nil {
		w.fail(nil)
		w.flush()
		close(w.jobs)
		w.workers.Wait()
		w.flushes.Wait()
		w.jobs = nil
	}
}
