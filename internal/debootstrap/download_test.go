package debootstrap

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

// What has to be fetched is told before the packages that are there are unpacked.
func TestDownloadIsToldFirst(t *testing.T) {
	w := newKeyWorld(t)
	res := w.build(t)
	if err := w.Store.Remove(res.Root); err != nil {
		t.Fatal(err)
	}
	last := res.Lock.Packages[len(res.Lock.Packages)-1]
	if err := os.Remove(filepath.Join(w.Store.Dir(), "dl", "sha256", string(last.SHA256))); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var stages []string
	var total int64
	w.Progress = func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		if !slices.Contains(stages, e.Stage) {
			stages = append(stages, e.Stage)
			if e.Stage == StageDownload {
				total = e.Total
			}
		}
	}
	w.build(t)
	first, second := slices.Index(stages, StageDownload), slices.Index(stages, StageUnpack)
	if first < 0 || first > second || total != last.Size {
		t.Errorf("%d bytes of %d; in the order %q", total, last.Size, stages)
	}
}
