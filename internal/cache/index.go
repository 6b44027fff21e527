package cache

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache/oci"
)

// oci/index.json is derived from the image records and the refs, under the lock index. A change of a name costs nothing
// where no image was ever made, and one read of the index where the root has none. The lock's file has the index's
// digest in it, and nothing from before a change until the index agrees with it: whoever finds another index than that,
// or none, makes it anew from all records.

// maxIndex bounds what is read of an index.
const maxIndex = 64 << 20

// A change of what the index is derived from.
type change struct {
	affects func(*view) bool // whether the index, as it is, has to change
	do      func() error     // takes milliseconds
	apply   func(*view) error
}

// changeRef is a change of a name; an empty root takes it away.
func (s *Store) changeRef(name string, root Digest, do func() error) error {
	if s.readOnly {
		return ErrReadOnly
	}
	l, err := s.lock(context.Background(), "index", unix.LOCK_EX, nil)
	if err != nil {
		return err
	}
	defer l.Close()
	if !s.hasImages() {
		return s.fault(do())
	}
	return s.changeIndex(l, change{
		affects: func(v *view) bool {
			after := root
			if _, ok := v.images[root]; !ok {
				after = ""
			}
			return v.names[oci.RefName(name)] != after
		},
		do: do,
		apply: func(v *view) error {
			v.set(name, root)
			return nil
		},
	})
}

// changeRefs is a change of any number of names.
func (s *Store) changeRefs(do func() error) error {
	if s.readOnly {
		return ErrReadOnly
	}
	l, err := s.lock(context.Background(), "index", unix.LOCK_EX, nil)
	if err != nil {
		return err
	}
	defer l.Close()
	if !s.hasImages() {
		return s.fault(do())
	}
	if err := markStale(l); err != nil {
		return s.fault(err)
	}
	return s.fault(errors.Join(do(), s.makeIndex(l)))
}

// changeImage is a change of root's image, which do records.
func (s *Store) changeImage(i *Image, do func() error) error {
	l, err := s.lock(context.Background(), "index", unix.LOCK_EX, nil)
	if err != nil {
		return err
	}
	defer l.Close()
	return s.changeIndex(l, change{
		affects: func(v *view) bool { return v.images[i.Root].Digest != i.Manifest.Digest },
		do:      do,
		apply: func(v *view) error {
			v.images[i.Root] = i.Manifest
			refs, err := s.Refs()
			for _, r := range refs {
				if r.Root == i.Root {
					v.set(r.Name, r.Root)
				}
			}
			return err
		},
	})
}

// changeIndex does a change and brings the index in line; the caller holds the lock.
func (s *Store) changeIndex(l *os.File, c change) error {
	v, err := s.readView(l)
	if err != nil {
		return err
	}
	if v != nil && !c.affects(v) {
		return s.fault(c.do())
	}
	if err := markStale(l); err != nil {
		return s.fault(err)
	}
	if err := c.do(); err != nil {
		return errors.Join(s.fault(err), s.makeIndex(l))
	}
	if v == nil {
		return s.fault(s.makeIndex(l))
	}
	if err := c.apply(v); err != nil {
		return s.fault(err)
	}
	return s.fault(s.writeView(l, v))
}

// RebuildIndex makes the index anew, as after blobs or records of images were removed, and reports whether it was another
// before.
func (s *Store) RebuildIndex(ctx context.Context) (changed bool, err error) {
	if s.readOnly {
		return false, ErrReadOnly
	}
	l, err := s.lock(ctx, "index", unix.LOCK_EX, nil)
	if err != nil {
		return false, err
	}
	defer l.Close()
	if !s.hasImages() {
		return false, nil
	}
	before, _ := readFile(s.path("oci", oci.IndexFile), maxIndex)
	if err := s.makeIndex(l); err != nil {
		return false, s.fault(err)
	}
	after, err := readFile(s.path("oci", oci.IndexFile), maxIndex)
	return string(before) != string(after), err
}

// hasImages reports whether there is, or was, any image.
func (s *Store) hasImages() bool {
	if _, err := os.Lstat(s.path("oci", oci.IndexFile)); err == nil {
		return true
	}
	d, err := os.Open(s.path("oci", oci.BlobFolder))
	if err != nil {
		return false
	}
	defer d.Close()
	names, _ := d.Readdirnames(1)
	return len(names) > 0
}

// markStale empties the lock's file.
func markStale(l *os.File) error {
	if err := l.Truncate(0); err != nil {
		return err
	}
	return l.Sync()
}

// A view is an index: the images by root, and the roots by the names as the index has them.
type view struct {
	images map[Digest]oci.Descriptor // without name
	names  map[string]Digest
}

// readView returns nil where the index has to be made anew.
func (s *Store) readView(l *os.File) (*view, error) {
	sum := make([]byte, 65)
	n, err := l.ReadAt(sum, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if _, err := os.Lstat(s.path("oci", oci.LayoutFile)); err != nil {
		return nil, nil
	}
	b, err := readFile(s.path("oci", oci.IndexFile), maxIndex)
	if err != nil || string(sum[:n]) != string(Sum(b)) {
		return nil, nil // whatever it is: it is replaced
	}
	var index oci.Index
	if json.Unmarshal(b, &index) != nil || index.SchemaVersion != 2 {
		return nil, nil
	}
	v := &view{map[Digest]oci.Descriptor{}, map[string]Digest{}}
	for _, m := range index.Manifests {
		root, err := ParseDigest(m.Annotations[oci.RootKey])
		if err != nil {
			return nil, nil
		}
		if name := m.Annotations[oci.RefNameKey]; name != "" {
			v.names[name] = root
			m.Annotations = maps.Clone(m.Annotations)
			delete(m.Annotations, oci.RefNameKey)
		}
		v.images[root] = m
	}
	return v, nil
}

// set gives a name to a root, or takes it from all where that has no image.
func (v *view) set(name string, root Digest) {
	delete(v.names, oci.RefName(name))
	if _, ok := v.images[root]; ok {
		v.names[oci.RefName(name)] = root
	}
}

// text is the index: images by root, each once for every name, in order.
func (v *view) text() []byte {
	index := oci.Index{SchemaVersion: 2, MediaType: oci.TypeIndex, Manifests: []oci.Descriptor{}}
	named := map[Digest]bool{}
	for _, name := range slices.Sorted(maps.Keys(v.names)) {
		d := v.images[v.names[name]]
		d.Annotations = maps.Clone(d.Annotations)
		d.Annotations[oci.RefNameKey] = name
		index.Manifests = append(index.Manifests, d)
		named[v.names[name]] = true
	}
	for _, root := range slices.Sorted(maps.Keys(v.images)) {
		if !named[root] {
			index.Manifests = append(index.Manifests, v.images[root])
		}
	}
	return oci.Text(index)
}

// makeIndex makes the index from all records; the caller holds the lock.
func (s *Store) makeIndex(l *os.File) error {
	v := &view{map[Digest]oci.Descriptor{}, map[string]Digest{}}
	for _, raw := range s.Actions() {
		if !bytes.Contains(raw, []byte(`"kind":"image"`)) { // the Locks of roots are long
			continue
		}
		var rec imageRecord
		if json.Unmarshal(raw, &rec) != nil || !rec.good() || !s.hasBlobs(&rec) {
			continue
		}
		v.images[rec.Root] = rec.image().Manifest
	}
	refs, err := s.Refs()
	if err != nil {
		return err
	}
	for _, r := range refs {
		v.set(r.Name, r.Root)
	}
	return s.writeView(l, v)
}

func (s *Store) hasBlobs(r *imageRecord) bool {
	for _, d := range r.Blobs {
		if st, err := os.Lstat(s.blobPath(d)); err != nil || !st.Mode().IsRegular() {
			return false
		}
	}
	return true
}

// writeView makes the index say v, and the lock's file agree with it.
func (s *Store) writeView(l *os.File, v *view) error {
	layout, err := readFile(s.path("oci", oci.LayoutFile), 1024)
	if err != nil || strings.TrimSpace(string(layout)) != oci.LayoutText {
		if err := s.write(s.path("oci", oci.LayoutFile), []byte(oci.LayoutText)); err != nil {
			return err
		}
	}
	text := v.text()
	now, err := readFile(s.path("oci", oci.IndexFile), maxIndex)
	if err != nil && !errors.Is(err, fs.ErrNotExist) || string(now) != string(text) {
		if err := s.write(s.path("oci", oci.IndexFile), text); err != nil {
			return err
		}
	}
	if err := l.Truncate(0); err != nil {
		return err
	}
	_, err = l.WriteAt([]byte(Sum(text)), 0)
	return err
}
