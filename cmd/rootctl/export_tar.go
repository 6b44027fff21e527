package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/cache/pack"
	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// writeTar writes a tarball. One in zstd is the image's layer, which the cache keeps.
func (e *exporting) writeTar(ctx context.Context) (*exportReport, error) {
	out, err := e.createOutputAs(ctx, e.plan.output, e.plan.owner)
	if err != nil {
		return nil, err
	}
	defer out.close()
	if e.plan.compress == snapshot.Zstd {
		err = e.writeLayer(ctx, out)
	} else {
		err = e.lease.WriteTar(ctx, out, pack.Compress, e.plan.compress, e.bar)
	}
	if out.err != nil { // the error of what was read into it names that
		err = out.err
	}
	if err != nil {
		return nil, err
	}
	return e.finish(out)
}

// writeLayer writes the image's layer. One that is made now goes to a regular file and into the cache at once.
func (e *exporting) writeLayer(ctx context.Context, out *output) error {
	var tee io.Writer
	if !out.flat {
		tee = out
	}
	out.known = "the layer's"
	i, layer, err := e.image(ctx, tee)
	if err == nil {
		defer layer.Close()
		out.known = i.Layer.Digest
		if i.Teed {
			return nil
		}
		_, err = copyAll(ctx, out, layer)
		return err
	}
	if out.err != nil {
		return out.err
	}
	if !keepsNothing(err) {
		return err
	}
	out.known = ""
	if out.n > 0 {
		if err := out.reset(); err != nil {
			return err
		}
	}
	return e.lease.WriteTar(ctx, out, pack.Compress, e.plan.compress, e.bar)
}

// finish makes the file appear and reports on it.
func (e *exporting) finish(out *output) (*exportReport, error) {
	if err := out.finish(); err != nil {
		return nil, err
	}
	e.bar.close()
	return &exportReport{Format: e.plan.format, Compression: string(e.plan.compress), Output: out.path, Digest: out.digest(), Size: out.n}, nil
}

// image is the root's image in the cache with its layer. If it is made now, the layer goes to tee as well.
func (e *exporting) image(ctx context.Context, tee io.Writer) (*cache.Image, *os.File, error) {
	return e.store.Image(ctx, e.lease, cache.ImageOptions{Pack: pack.Compress, Meta: e.meta(), Progress: e.bar, Tee: tee,
		Waiting: func() { e.say("waiting for another export of %s", e.info.Suite) }})
}

// meta is what an image says of the root.
func (e *exporting) meta() cache.ImageMeta { return imageMeta(e.lease.Tree, e.ref, e.info) }

// keepsNothing says that the cache has no room for a layer, or may not be written: then it goes to the output alone.
func keepsNothing(err error) bool {
	var full *cache.FullError
	return errors.Is(err, cache.ErrReadOnly) || errors.As(err, &full)
}

// layer is the image's layer in the wanted compression, measured: from the cache, or made in a file without a name.
func (e *exporting) layer(ctx context.Context) (*cache.Image, *os.File, error) {
	if e.plan.compress == snapshot.Zstd {
		if i, layer, err := e.image(ctx, nil); err == nil || !keepsNothing(err) {
			return i, layer, err
		}
	}
	f, err := spool(e.plan.output)
	if err != nil {
		return nil, nil, cannotWrite(e.plan.output, err)
	}
	d, size, err := e.spoolLayer(ctx, f)
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return cache.NewImage(e.lease.Root, e.plan.compress, d, size, e.meta()), f, nil
}

func (e *exporting) spoolLayer(ctx context.Context, f *os.File) (cache.Digest, int64, error) {
	s := &summer{w: f, h: newSHA256()}
	err := e.lease.WriteTar(ctx, s, pack.Compress, e.plan.compress, e.bar)
	if s.err != nil {
		err = cannotWrite(f.Name(), s.err)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	return s.sum(), s.n, err
}

// writeLayer makes the image of a root that was built.
func (a *app) writeLayer(ctx context.Context, store *cache.Store, b *built) error {
	defer a.catchSignals()()
	bar := a.startMeter("packing", b.Info.TarSize)
	defer bar.close()
	_, layer, err := store.Image(ctx, b.Lease, cache.ImageOptions{Pack: pack.Compress, Meta: imageMeta(b.Lease.Tree, b.Ref(), b.Info), Progress: bar,
		Waiting: func() { a.say("waiting for an export of %s", b.Info.Suite) }})
	if err != nil {
		return fmt.Errorf("write the layer of %s: %w", b.Info.Suite, err)
	}
	return layer.Close()
}
