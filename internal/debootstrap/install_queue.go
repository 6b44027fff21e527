package debootstrap

import (
	"slices"
	"sync"
)

// queue holds packages that have arrived until a worker is free.
type queue struct {
	mu       sync.Mutex
	wake     *sync.Cond
	ready    []*pkg
	expected int
	stopped  bool
}

func newQueue() *queue {
	q := &queue{}
	q.wake = sync.NewCond(&q.mu)
	return q
}

// expect announces one push.
func (q *queue) expect() {
	q.mu.Lock()
	q.expected++
	q.mu.Unlock()
}

func (q *queue) push(p *pkg) {
	q.mu.Lock()
	q.ready = append(q.ready, p)
	q.mu.Unlock()
	q.wake.Signal()
}

func (q *queue) cancel() {
	q.mu.Lock()
	q.stopped = true
	q.mu.Unlock()
	q.wake.Broadcast()
}

// pop waits for a package and returns the biggest that is there, or nil when
// none will come any more.
func (q *queue) pop() *pkg {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.ready) == 0 && q.expected > 0 && !q.stopped {
		q.wake.Wait()
	}
	if q.stopped || len(q.ready) == 0 {
		return nil
	}
	best := 0
	for i, p := range q.ready {
		if p.Size > q.ready[best].Size {
			best = i
		}
	}
	p := q.ready[best]
	q.ready = slices.Delete(q.ready, best, best+1)
	if q.expected--; q.expected == 0 {
		q.wake.Broadcast()
	}
	return p
}
