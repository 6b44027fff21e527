package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/cache/oci"
)

// testImage is a layout as files by name, whose documents a test may bend before it is written.
type testImage struct {
	files    map[string][]byte
	manifest oci.Manifest
	config   oci.Config
	platform *oci.Platform
}

func (i *testImage) blob(kind string, b []byte) oci.Descriptor {
	d := cache.Sum(b)
	i.files[oci.BlobFolder+"/"+string(d)] = b
	return oci.Descriptor{MediaType: kind, Digest: "sha256:" + string(d), Size: int64(len(b))}
}

// imageOf makes an image of layers, packed by gzip.
func imageOf(t testing.TB, layers ...[]byte) *testImage {
	i := &testImage{files: map[string][]byte{}}
	i.config = oci.Config{Platform: oci.PlatformOf("amd64"), RootFS: oci.RootFS{Type: "layers"}}
	i.manifest = oci.Manifest{SchemaVersion: 2, MediaType: oci.TypeManifest}
	for _, l := range layers {
		i.config.RootFS.DiffIDs = append(i.config.RootFS.DiffIDs, "sha256:"+string(cache.Sum(l)))
		i.manifest.Layers = append(i.manifest.Layers, i.blob(oci.TypeTar+"+gzip", gzipped(t, l)))
	}
	return i
}

// done adds config, manifest and index; bend changes what is written, if not nil.
func (i *testImage) done(bend func(*oci.Index)) *testImage {
	i.manifest.Config = i.blob(oci.TypeConfig, oci.Text(i.config))
	d := i.blob(oci.TypeManifest, oci.Text(i.manifest))
	d.Platform = i.platform
	index := oci.Index{SchemaVersion: 2, MediaType: oci.TypeIndex, Manifests: []oci.Descriptor{d}}
	if old, ok := i.files[oci.IndexFile]; ok {
		var o oci.Index
		if err := json.Unmarshal(old, &o); err != nil {
			panic(err)
		}
		index.Manifests = append(o.Manifests, d)
	}
	if bend != nil {
		bend(&index)
	}
	i.files[oci.IndexFile] = oci.Text(index)
	i.files[oci.LayoutFile] = []byte(oci.LayoutText)
	return i
}

// folder writes the layout.
func (i *testImage) folder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, b := range i.files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// archive writes the layout as a tar, blobs first as podman does.
func (i *testImage) archive(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, prefix := range []string{"blobs/", "index.json", "oci-layout"} {
		for name, content := range i.files {
			if !strings.HasPrefix(name, prefix) {
				continue
			}
			if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(content); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Images that are not what they say, or whose layers are made to do harm.
func TestImportHostileImage(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: a cache whose imports have devices and owners")
	}
	h := newHostileImport(t)
	good := tarOf(t, dir("."), named("file"), dir("d"), named("d/f"))
	flip := func(name func(i *testImage) string) *testImage {
		i := imageOf(t, good).done(nil)
		n := name(i)
		i.files[n] = withFlip(bytes.Clone(i.files[n]), -3)
		return i
	}
	layer := func(i *testImage) string {
		return oci.BlobFolder + "/" + strings.TrimPrefix(i.manifest.Layers[0].Digest, "sha256:")
	}
	config := func(i *testImage) string {
		return oci.BlobFolder + "/" + strings.TrimPrefix(i.manifest.Config.Digest, "sha256:")
	}
	bent := func(bend func(*testImage), after func(*oci.Index)) *testImage {
		i := imageOf(t, good)
		if bend != nil {
			bend(i)
		}
		return i.done(after)
	}
	less := func(name func(*testImage) string) *testImage {
		i := imageOf(t, good).done(nil)
		delete(i.files, name(i))
		return i
	}
	nested := func() *testImage {
		i := imageOf(t, good).done(nil)
		for range 10 {
			d := i.blob(oci.TypeIndex, i.files[oci.IndexFile])
			i.files[oci.IndexFile] = oci.Text(oci.Index{SchemaVersion: 2, Manifests: []oci.Descriptor{d}})
		}
		return i
	}
	many := func() *testImage {
		i := imageOf(t, good).done(nil)
		other := imageOf(t, tarOf(t, named("other")))
		maps := i.files
		for name, b := range other.files {
			maps[name] = b
		}
		other.files = maps
		return other.done(nil)
	}
	for _, tc := range []struct {
		summary, says string
		image         *testImage
		args          []string
	}{
		{"layer changed", "another digest", flip(layer), nil},
		{"config changed", "another digest", flip(config), nil},
		{"layer missing", "is missing", less(layer), nil},
		{"config missing", "is missing", less(config), nil},
		{"layer of another size", "bytes, not", bent(func(i *testImage) { i.manifest.Layers[0].Size++ }, nil), nil},
		{"config of another size", "bytes, not", bent(nil, func(x *oci.Index) { x.Manifests[0].Size-- }), nil},
		{"layer whose tar is another", "its config says", bent(func(i *testImage) { i.config.RootFS.DiffIDs[0] = "sha256:" + strings.Repeat("0", 64) }, nil), nil},
		{"more layers than digests", "lists 1 layers", bent(func(i *testImage) { i.manifest.Layers = append(i.manifest.Layers, i.manifest.Layers[0]) }, nil), nil},
		{"no layers", "lists 0 layers", imageOf(t).done(nil), nil},
		{"digest that leads out", "by the digest", bent(nil, func(x *oci.Index) { x.Manifests[0].Digest = "sha256:../../../outside/kept" }), nil},
		{"digest of another kind", "only sha256", bent(nil, func(x *oci.Index) { x.Manifests[0].Digest = "sha512:" + strings.Repeat("0", 128) }), nil},
		{"indices in indices", "nested too deeply", nested(), nil},
		{"no image", "holds no image", bent(nil, func(x *oci.Index) { x.Manifests = nil }), nil},
		{"two images", "holds 2 images", many(), nil},
		{"another architecture", "no image for riscv64", imageOf(t, good).done(nil), []string{"--arch", "riscv64"}},
		{"another system", "windows", bent(func(i *testImage) { i.config.OS = "windows" }, nil), nil},
		{"link below, file through it above", "is a symbolic link", imageOf(t, tarOf(t, link("x", h.outside)), tarOf(t, named("x/kept"))).done(nil), nil},
		{"mark of a removal through a link", "is a symbolic link", imageOf(t, tarOf(t, link("x", h.outside)), tarOf(t, named("x/.wh.kept"))).done(nil), nil},
		{"mark of a removal of all through a link", "is a symbolic link", imageOf(t, tarOf(t, link("x", h.outside)), tarOf(t, named("x/.wh..wh..opq"))).done(nil), nil},
		{"mark of the removal of ..", "names nothing", imageOf(t, good, tarOf(t, named("d/.wh..."))).done(nil), nil},
		{"mark of the removal of nothing", "names nothing", imageOf(t, good, tarOf(t, named("d/.wh."))).done(nil), nil},
		{"hardlink to what was removed", "no earlier file", imageOf(t, good, tarOf(t, named(".wh.file"), hardlink("x", "file"))).done(nil), nil},
		{"all removed", "holds no files", imageOf(t, tarOf(t, named("file")), tarOf(t, named(".wh.file"))).done(nil), nil},
		{"layers that are too large together", "more than 14 bytes", imageOf(t, good, tarOf(t, named("x"))).done(nil), []string{"--max-size", "14"}},
	} {
		t.Run(tc.summary, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "evil.oci.tar")
			if err := os.WriteFile(file, tc.image.archive(t), 0o600); err != nil {
				t.Fatal(err)
			}
			h.refused(t, file, tc.says, tc.args...)
			h.refused(t, tc.image.folder(t), tc.says, tc.args...)
		})
	}
	t.Run("blobs are links to files outside", func(t *testing.T) {
		i := imageOf(t, good).done(nil)
		folder := i.folder(t)
		blob := filepath.Join(folder, layer(i))
		if err := os.Rename(blob, folder+"/elsewhere"); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(folder+"/elsewhere", blob); err != nil {
			t.Fatal(err)
		}
		h.refused(t, folder, "symbolic link")
	})
	for summary, list := range map[string]string{
		"docker's layer outside":  `[{"Config":"c.json","Layers":["../../outside/kept"]}]`,
		"docker's config outside": `[{"Config":"/etc/passwd","Layers":["l.tar"]}]`,
		"docker's layer missing":  `[{"Config":"c.json","Layers":["l.tar"]}]`,
	} {
		t.Run(summary, func(t *testing.T) {
			folder := t.TempDir()
			config := fmt.Sprintf(`{"architecture":"amd64","rootfs":{"diff_ids":["sha256:%s"]}}`, cache.Sum(good))
			if err := os.WriteFile(folder+"/c.json", []byte(config), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(folder+"/manifest.json", []byte(list), 0o600); err != nil {
				t.Fatal(err)
			}
			h.refused(t, folder, "")
		})
	}
}
