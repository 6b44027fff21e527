package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/cache/intake"
	"github.com/rootctl/rootctl/internal/debootstrap"
)

// importFlags are the flags of import.
type importFlags struct {
	tag, arch, maxSize string
	json               bool
}

func newImportCommand(a *app) *cobra.Command {
	var fl importFlags
	c := &cobra.Command{
		Use:   "import [flags] FILE|FOLDER|-",
		Short: "make a root of a tar archive or a container image",
		Long: "import makes a root in the cache of a tar archive (plain, or compressed by zstd, gzip, xz or bzip2) or of\n" +
			"a container image (OCI layout as a folder or tar, or what docker save writes), from a file or stdin.\n" +
			"Digests and sizes are verified. Nobody's signature stands behind such a root, and ls and show say so.",
		Example: "  rootctl import bookworm.tar.zst --tag mine\n  podman save --format oci-archive IMAGE | rootctl import - --tag mine\n" +
			"  mmdebstrap trixie - | rootctl import - --tag from-mmdebstrap",
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, names []string) error {
			if fl.json {
				a.quiet = true
			}
			return a.importRoot(c.Context(), names[0], &fl)
		},
	}
	f := c.Flags()
	f.SortFlags = false
	f.StringVar(&fl.tag, "tag", "", "`name` for the root; without one only its digest is printed")
	f.StringVar(&fl.arch, "arch", "", "`architecture` to take from an image of many, or of a root that does not say its own")
	f.StringVar(&fl.maxSize, "max-size", "", "refuse what holds more than `size` bytes of files (default 64G, or what is free)")
	f.BoolVar(&fl.json, "json", false, "print one JSON object")
	return c
}

func (a *app) importRoot(ctx context.Context, name string, fl *importFlags) error {
	if fl.tag != "" {
		if err := a.checkTag(fl.tag); err != nil {
			return err
		}
	}
	if fl.arch != "" {
		if err := checkArch(fl.arch); err != nil {
			return err
		}
	}
	if name != "-" {
		if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
			return withHint(&notFound{fmt.Errorf("import %s: there is no such file", name)}, "give a file, a folder, or - for stdin")
		} else if err != nil {
			return fmt.Errorf("import: %w", err)
		}
	}
	store, err := a.openStore()
	if err != nil {
		return err
	}
	maxSize, err := importLimit(store, fl.maxSize)
	if err != nil {
		return err
	}
	if done, err := a.enter(); done || err != nil {
		return err
	}
	defer a.catchSignals()()
	im := &importing{app: a, store: store, from: name, arch: fl.arch, start: time.Now(),
		options: intake.Options{MaxSize: maxSize, DiskCannot: a.inside.single()}}
	ref, lease, err := im.run(ctx)
	if err != nil {
		if ctx.Err() != nil { // what of it failed first is chance
			return ctx.Err()
		}
		var limit *intake.LimitError
		if errors.As(err, &limit) && fl.maxSize == "" && limit.Max == maxSize && maxSize < importMax {
			err = withHint(fmt.Errorf("the disk is full, or would be: %w, and no more is free", err), "free some space, or put the cache elsewhere with --cache DIR or ROOTCTL_CACHE")
		}
		return fmt.Errorf("import %s: %w", name, err)
	}
	defer lease.Close()
	if fl.tag != "" {
		ref.Name = fl.tag
		if old, err := store.Ref(fl.tag); err == nil && old.Root != ref.Root {
			a.say("%s was %s until now", fl.tag, old.Root.Short())
		}
		if err := debootstrap.SetName(store, ref, a.now()); err != nil {
			return fmt.Errorf("import %s: name %s: %w", name, fl.tag, err)
		}
	}
	if !im.cached {
		if err := a.collectAfter(ctx, store); err != nil {
			return err
		}
	}
	return a.reportImport(im, ref, fl)
}

// importLimit is --max-size, else 64 GB or what the disk has free.
func importLimit(store *cache.Store, flag string) (int64, error) {
	if flag != "" {
		size, err := parseSize(flag)
		if err != nil {
			return 0, badSetting("--max-size", flag, err, "a size is like 20GB, 500MB, 1.5GiB or a number of bytes; none is no bound")
		}
		if size == 0 {
			return math.MaxInt64 / 2, nil
		}
		return size, nil
	}
	free, err := store.Free()
	if err != nil {
		return 0, err
	}
	return min(max(free, 1), importMax), nil
}

// importMax is how many bytes of files are taken unasked.
const importMax = int64(64e9)

// importReport is import's --json object; its fields are an interface to scripts.
type importReport struct {
	Name     string         `json:"name"`
	Digest   string         `json:"digest"`
	Cached   bool           `json:"cached"` // the root was there already
	Suite    string         `json:"suite"`  // this and the next two: by the root's own word
	Variant  string         `json:"variant"`
	Arch     string         `json:"arch"`
	Packages int            `json:"packages"`
	Entries  int            `json:"entries"`
	TarSize  int64          `json:"tar_size"`
	From     string         `json:"from"`
	Format   string         `json:"format"`
	Image    string         `json:"image,omitempty"`
	Layers   int            `json:"layers"`
	Dropped  map[string]int `json:"dropped,omitempty"` // what a root does not keep, by kind
	Seconds  float64        `json:"seconds"`
}

func (a *app) reportImport(im *importing, ref cache.Ref, fl *importFlags) error {
	i, took := im.info, time.Since(im.start).Seconds()
	if fl.json {
		return a.printJSON(importReport{Name: ref.Name, Digest: "sha256:" + string(ref.Root), Cached: im.cached, Suite: i.Suite, Variant: i.Variant,
			Arch: i.Arch, Packages: i.Packages, Entries: im.entries, TarSize: i.TarSize, From: i.Imported.From, Format: i.Imported.Format,
			Image: i.Imported.Image, Layers: im.layers, Dropped: im.dropped, Seconds: took})
	}
	name := ref.Name
	if name == "" {
		name = ref.Root.Short()
		fmt.Fprintln(a.stdout, ref.Root)
	}
	what := "ready"
	if im.cached {
		what = "in the cache already"
	}
	a.say("%s is %s: %d entries, %s, %.1f s", name, what, im.entries, bytesText(i.TarSize), took)
	for kind, n := range im.dropped {
		a.say("note: left out, for a root does not keep it: %s (%d times)", kind, n)
	}
	a.say("next: %s run %s", a.typed(), name)
	return nil
}

// baseName is what is remembered of where a root came from: no path of this machine.
func baseName(name string) string {
	if name == "-" {
		return name
	}
	if abs, err := filepath.Abs(name); err == nil {
		name = abs
	}
	return filepath.Base(name)
}
