package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/cache/oci"
	"github.com/rootctl/rootctl/internal/debootstrap"
)

// imageMeta is what an image says of a root.
func imageMeta(tree string, ref cache.Ref, i debootstrap.Info) cache.ImageMeta {
	m := cache.ImageMeta{Arch: i.Arch, Epoch: i.Epoch, Key: ref.Key, Suite: i.Suite, Variant: i.Variant, Unverified: i.Unverified || !i.HasLock()}
	if m.Arch == "" {
		m.Arch = hostArch()
	}
	for _, shell := range []string{"bash", "sh"} {
		if inRoot(tree, shell) {
			m.Cmd = []string{shell}
			break
		}
	}
	return m
}

// A layoutFile is one file of an image layout.
type layoutFile struct {
	name string
	size int64
	r    io.Reader
}

// writeImage writes a layout of one image, as a folder or as an archive of it.
func (e *exporting) writeImage(ctx context.Context) (*exportReport, error) {
	if e.plan.folder {
		return e.writeLayout(ctx)
	}
	out, err := e.createOutput(ctx, e.plan.output)
	if err != nil {
		return nil, err
	}
	defer out.close()
	i, layer, err := e.layer(ctx)
	if err != nil {
		return nil, err
	}
	defer layer.Close()
	w := tar.NewWriter(out)
	head := tar.Header{Format: tar.FormatPAX, ModTime: time.Unix(e.info.Epoch, 0)}
	for _, f := range e.layoutFiles(i, layer) {
		h := head
		h.Name, h.Typeflag, h.Mode, h.Size = f.name, tar.TypeReg, 0o644, f.size
		if f.r == nil {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if err := w.WriteHeader(&h); err != nil {
			return nil, err
		}
		if f.r != nil {
			if _, err := copyAll(ctx, w, f.r); err != nil {
				return nil, err
			}
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	rep, err := e.finish(out)
	if err == nil {
		rep.Manifest = i.Manifest.Digest
	}
	return rep, err
}

// layoutFiles lists a layout in the order of an archive; a folder has no reader.
func (e *exporting) layoutFiles(i *cache.Image, layer io.Reader) []layoutFile {
	d := i.Manifest
	d.Annotations = map[string]string{oci.RootKey: "sha256:" + string(i.Root)}
	if e.ref.Name != "" {
		d.Annotations[oci.RefNameKey] = oci.RefName(e.ref.Name)
	}
	index := oci.Text(oci.Index{SchemaVersion: 2, MediaType: oci.TypeIndex, Manifests: []oci.Descriptor{d}})
	text := func(name string, b []byte) layoutFile { return layoutFile{name, int64(len(b)), bytes.NewReader(b)} }
	blob := func(d oci.Descriptor) string {
		return path.Join(oci.BlobFolder, strings.TrimPrefix(d.Digest, "sha256:"))
	}
	return []layoutFile{
		text(oci.LayoutFile, []byte(oci.LayoutText)), text(oci.IndexFile, index),
		{name: path.Dir(oci.BlobFolder) + "/"}, {name: oci.BlobFolder + "/"},
		text(blob(i.Manifest), i.Text), text(blob(i.Config), i.ConfigText), {blob(i.Layer), i.Layer.Size, layer},
	}
}

// writeLayout writes the layout as a folder.
func (e *exporting) writeLayout(ctx context.Context) (*exportReport, error) {
	dir, err := e.createFolder(e.plan.output)
	if err != nil {
		return nil, err
	}
	defer dir.close()
	i, layer, err := e.layer(ctx)
	if err != nil {
		return nil, err
	}
	defer layer.Close()
	rep := &exportReport{Format: e.plan.format, Compression: string(e.plan.compress), Output: dir.path, Manifest: i.Manifest.Digest}
	if err := os.Chmod(dir.at, 0o755); err != nil {
		return nil, err
	}
	for _, f := range e.layoutFiles(i, layer) {
		if err := writeLayoutFile(ctx, filepath.Join(dir.at, f.name), f); err != nil {
			return nil, outputFault(dir.path, err)
		}
		rep.Size += f.size
	}
	if err := dir.finish(); err != nil {
		return nil, cannotWrite(dir.path, err)
	}
	e.bar.close()
	return rep, nil
}

func writeLayoutFile(ctx context.Context, name string, f layoutFile) error {
	if f.r == nil {
		return os.MkdirAll(name, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = copyAll(ctx, out, f.r)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	return err
}

// A summer counts and hashes what it passes on.
type summer struct {
	w io.Writer
	h hash.Hash
	n int64

	err error // of w
}

func newSHA256() hash.Hash { return sha256.New() }

func (s *summer) Write(b []byte) (int, error) {
	n, err := s.w.Write(b)
	s.h.Write(b[:n])
	s.n += int64(n)
	s.err = err
	return n, err
}

func (s *summer) sum() cache.Digest { return cache.Digest(hex.EncodeToString(s.h.Sum(nil))) }

// folderNames are the names in a folder, none if it is not there.
func folderNames(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return slices.Clip(names), err
}
