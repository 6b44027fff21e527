package cache

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A fifo where a record ought to be is a miss; opening it would wait for a writer for ever.
func TestFifoInPlaceOfARecord(t *testing.T) {
	s, err := Open(t.TempDir()+"/cache", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(s.path("refs", "bionic"), 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := s.Ref("bionic")
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil || errors.Is(err, unix.EAGAIN) {
			t.Errorf("got %v, want an error that the name is not there or damaged", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("still waiting for the fifo")
	}
}
