package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// export measures how long bookworm takes to become a .tar.zst, beside GNU tar on the same tree, and that the file is
// not larger than tar's. The layer that rootctl keeps is removed each time, so that it is always a first export.
func (b *bench) export(ctx context.Context) error {
	job, err := b.job("bookworm")
	if err != nil {
		return err
	}
	rep, err := b.rc.Build(ctx, job)
	if err != nil {
		return err
	}
	ours, theirs := filepath.Join(b.work, "ours.tar.zst"), filepath.Join(b.work, "theirs.tar.zst")
	blobs := filepath.Join(b.rc.Cache, "oci", "blobs", "sha256")
	var sizes [2]int64
	aside := func(i int, file string) func() error {
		return func() error {
			st, err := os.Stat(file)
			if err != nil {
				return err
			}
			sizes[i] = st.Size()
			names, err := filepath.Glob(filepath.Join(blobs, "*"))
			for _, n := range append(names, file) {
				if err == nil {
					err = os.Remove(n)
				}
			}
			return err
		}
	}
	err = b.measure(ctx, "first export of bookworm as tar.zst", b.n,
		contender{name: "rootctl", do: b.command(b.rc.Program, "export", "-q", "bookworm", "-o", ours), cleanUp: aside(0, ours)},
		contender{name: "tar --zstd", do: b.command("tar", "--zstd", "-cf", theirs, "-C", b.rc.Dir(rep.Digest), "."), cleanUp: aside(1, theirs)})
	if err != nil {
		return err
	}
	if sizes[0] > sizes[1] {
		return fmt.Errorf("export: %d bytes, more than tar's %d", sizes[0], sizes[1])
	}
	r := &b.rows[len(b.rows)-1]
	for i := range r.results {
		r.results[i].name += fmt.Sprintf(", %.1f MB", float64(sizes[i])/1e6)
	}
	return nil
}
