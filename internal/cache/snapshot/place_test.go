package snapshot

import (
	"errors"
	"os/exec"
	"testing"
)

// Place makes the tree again, of all kinds of things, and finds what was changed.
func TestPlace(t *testing.T) {
	tree := oddTree(t)
	m, d, _, err := Scan(t.Context(), tree, ScanOptions{Epoch: epoch, Extra: devices})
	must(t, err)
	must(t, m.Settle(tree))
	dst := t.TempDir()
	left, err := m.Place(t.Context(), tree, dst, PlaceOptions{})
	must(t, err)
	if left != (Placed{}) {
		t.Errorf("left out: %+v", left)
	}
	if _, again, _, err := Scan(t.Context(), dst, ScanOptions{Epoch: epoch}); err != nil || again != d {
		t.Errorf("placed it is %s, was %s (%v)", again.Short(), d.Short(), err)
	}
	if left, err := m.Place(t.Context(), tree, t.TempDir(), PlaceOptions{NoDevices: true, NoOwners: true}); err != nil || left.Devices != 2 || left.Owners == 0 {
		t.Errorf("left out %+v (%v)", left, err)
	}
	must(t, exec.Command("cp", "/bin/true", tree+"/su").Run())
	var bad *TreeError
	if _, err := m.Place(t.Context(), tree, t.TempDir(), PlaceOptions{}); !errors.As(err, &bad) {
		t.Errorf("a changed tree: %v", err)
	}
}
