package debootstrap

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
)

// TestWaitingSaysForWhom: a build that waits names what it waits for, and does not call another key's build its own.
func TestWaitingSaysForWhom(t *testing.T) {
	w := newSmallWorld(t)
	key := cache.Sum([]byte("one"))
	sister := cache.Digest(string(key[:2]) + string(cache.Sum([]byte("two")))[2:])
	for _, tt := range []struct{ holder, announced, want string }{
		{string(key), "build of bionic", "another build of bionic"},
		{string(key), "", "another build of bionic"},
		{string(sister), "build of xenial-buildd", "a build of xenial-buildd, whose lock this one shares"},
		{string(sister), "", "another process"},
	} {
		kl, err := w.Store.LockKey(t.Context(), cache.Digest(tt.holder), nil)
		if err != nil {
			t.Fatal(err)
		}
		kl.Announce(tt.announced)
		var said []string
		w.Progress = func(e Event) { said = append(said, e.Stage+" "+e.Item) }
		j := &job{Builder: w.Builder, req: w.req}
		j.req.Variant = "minbase"
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if _, err := j.lockKey(ctx, key, "build"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got the lock of another: %v", err)
		}
		cancel()
		kl.Close()
		if len(said) != 1 || said[0] != StageWait+" "+tt.want {
			t.Errorf("said %q, want %q", said, tt.want)
		}
	}
}
