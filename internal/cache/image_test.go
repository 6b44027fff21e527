package cache

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/rootctl/rootctl/internal/cache/oci"
	"github.com/rootctl/rootctl/internal/cache/pack"
	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// sealed is a root without a name.
func sealed(t *testing.T, s *Store) Digest {
	t.Helper()
	l, err := build(t.Context(), s, "one")
	must(t, err)
	l.Close()
	return l.Root
}

func readIndex(t *testing.T, s *Store) string {
	t.Helper()
	b, err := os.ReadFile(s.path("oci/index.json"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// image makes the image of the root and returns it with the layer's tar.
func imageOf(t *testing.T, s *Store, d Digest) (*Image, []byte) {
	t.Helper()
	l, err := s.Lease(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	i, f, err := s.Image(t.Context(), l, ImageOptions{Pack: pack.Compress, Meta: ImageMeta{Arch: "amd64", Epoch: 1e9, Suite: "bionic", Cmd: []string{"sh"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if Sum(b) != d {
		t.Errorf("the layer holds %s, not root %s", Sum(b), d)
	}
	return i, b
}

// The layer is made once and kept; the index follows names, and whatever happens to it is mended by the next change.
func TestImage(t *testing.T) {
	s := open(t)
	d := sealed(t, s)
	must(t, s.SetRef(Ref{Name: "before:i386", Root: d}, nil))
	if _, err := os.Lstat(s.path("oci/index.json")); err == nil {
		t.Error("an index where no image was made")
	}
	i, _ := imageOf(t, s, d)
	first, err := os.Stat(s.blobPath(digestOf(i.Layer)))
	must(t, err)
	if again, _ := imageOf(t, s, d); again.Manifest.Digest != i.Manifest.Digest {
		t.Errorf("made twice: %s and %s", i.Manifest.Digest, again.Manifest.Digest)
	}
	if now, err := os.Stat(s.blobPath(digestOf(i.Layer))); err != nil || !os.SameFile(first, now) {
		t.Errorf("the layer was made twice (%v)", err)
	}
	named := func(name string) bool { return strings.Contains(readIndex(t, s), `"`+oci.RefNameKey+`":"`+name+`"`) }
	if !named("before:i386") {
		t.Errorf("no name in %s", readIndex(t, s))
	}
	must(t, s.SetRef(Ref{Name: "c++", Root: d}, nil))
	if !named("c_2b_2b") || !named("before:i386") {
		t.Errorf("names in %s", readIndex(t, s))
	}
	must(t, s.DeleteRef("c++"))
	must(t, s.DeleteRef("before:i386"))
	if named("c_2b_2b") || !strings.Contains(readIndex(t, s), i.Manifest.Digest) {
		t.Errorf("after both names went: %s", readIndex(t, s))
	}
	must(t, s.SetRef(Ref{Name: "x", Root: d}, nil))
	want := readIndex(t, s)
	for _, damage := range []func() error{
		func() error { return os.Remove(s.path("oci/index.json")) },
		func() error { return os.Truncate(s.path("oci/index.json"), 0) },
		func() error { return os.WriteFile(s.path("oci/index.json"), []byte("{garbage"), 0o600) },
		func() error {
			return os.WriteFile(s.path("oci/index.json"), []byte(strings.Replace(want, string(d[:8]), "00000000", 1)), 0o600)
		},
		func() error { return os.Remove(s.path("oci/oci-layout")) },
		func() error { return os.Truncate(s.path("locks/index"), 0) }, // killed before it wrote the index
	} {
		must(t, damage())
		must(t, s.SetRef(Ref{Name: "y", Root: d}, nil))
		must(t, s.DeleteRef("y"))
		must(t, s.SetRef(Ref{Name: "x", Root: d}, nil))
		if got := readIndex(t, s); got != want {
			t.Errorf("mended to %s\nwant %s", got, want)
		}
		if changed, err := s.RebuildIndex(t.Context()); err != nil || changed {
			t.Errorf("another index from the records: %v", err)
		}
	}
}

// An image says what its root is known for now: the layer stays.
func TestImageMeta(t *testing.T) {
	s := open(t)
	d := sealed(t, s)
	l, err := s.Lease(t.Context(), d)
	must(t, err)
	defer l.Close()
	image := func(unverified bool) *Image {
		i, f, err := s.Image(t.Context(), l, ImageOptions{Pack: pack.Compress, Meta: ImageMeta{Arch: "i386", Unverified: unverified}})
		must(t, err)
		must(t, f.Close())
		if index := readIndex(t, s); !strings.Contains(index, i.Manifest.Digest) || strings.Count(index, `"digest"`) != 1 || !strings.Contains(index, `"386"`) {
			t.Errorf("index %s", index)
		}
		return i
	}
	unsigned := image(true)
	signed := image(false)
	if !strings.Contains(string(unsigned.Text), oci.UnverifiedKey) || strings.Contains(string(signed.Text), oci.UnverifiedKey) || unsigned.Layer.Digest != signed.Layer.Digest {
		t.Errorf("unsigned %s\nsigned %s", unsigned.Text, signed.Text)
	}
	if again := image(true); again.Manifest.Digest != signed.Manifest.Digest {
		t.Errorf("of an unsigned archive again: %s", again.Text)
	}
}

// A blob that is damaged is found when it is used and made again, with the same bytes.
func TestImageDamaged(t *testing.T) {
	s := open(t)
	d := sealed(t, s)
	i, _ := imageOf(t, s, d)
	for _, of := range []oci.Descriptor{i.Layer, i.Config, i.Manifest} {
		for _, damage := range []func(string) error{
			func(p string) error { return os.Truncate(p, 3) },
			os.Remove,
			func(p string) error {
				b, err := os.ReadFile(p)
				if err == nil {
					b[len(b)/2] ^= 1
					err = os.WriteFile(p, b, 0o600)
				}
				return err
			},
		} {
			path := s.blobPath(digestOf(of))
			must(t, os.Chmod(path, 0o600))
			must(t, damage(path))
			if again, _ := imageOf(t, s, d); again.Manifest.Digest != i.Manifest.Digest {
				t.Errorf("made again as %s, was %s", again.Manifest.Digest, i.Manifest.Digest)
			}
			b, err := os.ReadFile(path)
			if err != nil || Sum(b) != digestOf(of) {
				t.Errorf("%s after damage: %v", of.MediaType, err)
			}
		}
	}
	if n, err := s.Sweep(); err != nil || n != 0 {
		t.Errorf("left: %d things (%v)", n, err)
	}
}

// A tree that is no longer what was sealed gives no layer.
func TestImageOfDamagedTree(t *testing.T) {
	s := open(t)
	d := sealed(t, s)
	l, err := s.Lease(t.Context(), d)
	must(t, err)
	defer l.Close()
	must(t, os.WriteFile(l.Tree+"/usr/bin/7", []byte("eno7"), 0o644))
	_, _, err = s.Image(t.Context(), l, ImageOptions{Pack: pack.Compress, Meta: ImageMeta{Arch: "amd64"}})
	var bad *snapshot.TreeError
	if !errors.As(err, &bad) {
		t.Errorf("error %v", err)
	}
	for _, folder := range []string{"oci/blobs/sha256", "tmp"} {
		if names, err := s.listDir(folder); err != nil || len(names) > 0 {
			t.Errorf("%s holds %v (%v)", folder, names, err)
		}
	}
	var out bytes.Buffer
	if err := l.WriteTar(t.Context(), &out, pack.Compress, snapshot.None, nil); !errors.As(err, &bad) {
		t.Errorf("tar of it: %v", err)
	}
}
