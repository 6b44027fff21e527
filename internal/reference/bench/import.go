package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rootctl/rootctl/internal/reference"
)

// imports measures how long it takes to make a root of an archive, to GNU tar's unpacking. An import ends with the file
// system written out; tar is measured with that and without.
func (b *bench) imports(ctx context.Context) error {
	const suite = "bookworm"
	job, err := b.job(suite)
	if err != nil {
		return err
	}
	if _, err := b.rc.Build(ctx, job); err != nil {
		return err
	}
	file := filepath.Join(b.work, suite+".tar.zst")
	if err := b.command(b.rc.Program, "--cache", b.rc.Cache, "export", "--quiet", suite, "-o", file)(ctx); err != nil {
		return err
	}
	into := reference.Rootctl{Program: b.rc.Program, Cache: filepath.Join(b.work, "imports")}
	dir := filepath.Join(b.work, "unpacked")
	n := 0
	aside := func(path string) func() error { // and not removed: see cold
		return func() error {
			n++
			return os.Rename(path, fmt.Sprintf("%s-%d", path, n))
		}
	}
	unpack := func(sync bool) func(context.Context) error {
		return func(ctx context.Context) error {
			if err := os.Mkdir(dir, 0o755); err != nil {
				return err
			}
			err := b.command("tar", "--zstd", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf", file, "-C", dir)(ctx)
			if err == nil && sync {
				err = b.command("sync", "-f", dir)(ctx)
			}
			return err
		}
	}
	return b.measure(ctx, "import of "+suite+".tar.zst", b.n,
		contender{name: "rootctl", do: b.command(into.Program, "--cache", into.Cache, "import", "--quiet", file, "--tag", "x"), cleanUp: aside(into.Cache)},
		contender{name: "GNU tar, then sync", do: unpack(true), cleanUp: aside(dir)},
		contender{name: "GNU tar", do: unpack(false), cleanUp: aside(dir)},
	)
}
