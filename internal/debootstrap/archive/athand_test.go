package archive

import (
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// TestAtHand opens what was read before, asks nobody, and takes nothing that would be refused today.
func TestAtHand(t *testing.T) {
	w := newWorld(t, hello())
	if _, ok := AtHand(w.o); ok {
		t.Error("never read")
	}
	a := w.open(t)
	if _, ok := AtHand(w.o); ok {
		t.Error("without its index")
	}
	text := index(t, a)
	w.srv.Reset()
	a, ok := AtHand(w.o)
	if !ok || index(t, a) != text || !a.Pockets[0].Release.Date.Equal(w.Date) {
		t.Fatalf("at hand: %v", ok)
	}
	if q := w.srv.Requests(); len(q) > 0 {
		t.Errorf("asked for %+v", q)
	}
	now := w.o.Now
	w.o.Now = func() time.Time { return w.Date.AddDate(-1, 0, 0) }
	if _, ok := AtHand(w.o); ok {
		t.Error("of the future")
	}
	w.o.Now = now
	w.trust(testarchive.NewKey("other"))
	if _, ok := AtHand(w.o); ok {
		t.Error("by a key that is trusted no more")
	}
}
