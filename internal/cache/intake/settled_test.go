package intake

import (
	"archive/tar"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestSettled sees that under every umask files get their modes, most of them as they are made, and that Settle finds
// nothing to do: cache.SealSettled leaves it out.
func TestSettled(t *testing.T) {
	needsRoot(t)
	ents := []*ent{folder("./"), folder("d/"), with(file("d/dev", ""), func(e *ent) { e.Typeflag, e.Devmajor, e.Devminor = tar.TypeChar, 1, 3 })}
	for i, mode := range []int64{0, 0o400, 0o600, 0o644, 0o666, 0o755, 0o777, 0o1644, 0o2755, 0o4755} {
		for _, body := range []string{"small", strings.Repeat("big", chunkSize)} {
			ents = append(ents, with(file(fmt.Sprintf("d/%d-%d", i, len(body)), body), func(e *ent) { e.Mode, e.Uid = mode, i%2*7 }))
		}
	}
	packed := archive(t, append(ents, sym("d/s", "dev"), hard("d/t", "d/3-5"))...)
	for _, mask := range []int{0, 0o022, 0o077} {
		old := unix.Umask(mask)
		tree, m, err := taken(t, Options{}, packed)
		unix.Umask(old)
		must(t, err)
		if diff := cmp.Diff(m, scanned(t, tree, m)); diff != "" {
			t.Errorf("umask %04o: %s", mask, diff)
		}
		before := changes(t, tree)
		must(t, m.Settle(tree))
		if diff := cmp.Diff(before, changes(t, tree)); diff != "" {
			t.Errorf("Settle changed: %s", diff)
		}
	}
}

// changes gives the time of the last change of each name.
func changes(t *testing.T, tree string) map[string]unix.Timespec {
	times := map[string]unix.Timespec{}
	must(t, filepath.WalkDir(tree, func(path string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &st)
		}
		times[path] = st.Ctim
		return err
	}))
	return times
}
