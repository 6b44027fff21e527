package debootstrap

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"testing"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/cache/parcel"
)

// FuzzParcel reads what may be a file of cache save, and judges records. Raw is a whole file; text is the index of one that
// is well formed otherwise. Nothing may panic, what is refused has a next step, and what is taken can be written again and
// gives the same bytes.
func FuzzParcel(f *testing.F) {
	root := cache.Sum([]byte("root"))
	input := `{"kind":"resolve"}`
	for _, x := range []parcel.Index{
		{CacheSchema: cache.Schema},
		{CacheSchema: cache.Schema, Downloads: []parcel.Download{{SHA256: cache.Sum(nil)}}, Records: []parcel.Record{
			{Folder: "inputs", Name: string(cache.Sum([]byte(input))), Text: input},
			{Folder: "actions", Name: string(cache.Sum([]byte(input))), Text: `{"packages":[]}`},
			{Folder: "actions", Name: string(cache.Sum([]byte("import " + root))), Text: `{"kind":"import","root":"` + string(root) + `","info":{"imported":{}}}`},
			{Folder: "actions", Name: string(witnessKey(root, root)), Text: `{"kind":"witness","root":"` + string(root) + `","key":"` + string(root) + `"}`},
			{Folder: "actions", Name: string(root), Text: `{"kind":"root","root":"` + string(root) + `","lock":{"suite":"bionic"}}`},
			{Folder: "actions", Name: string(root), Text: `{"kind":"request","root":"` + string(root) + `","key":"` + string(root) + `"}`},
			{Folder: "actions", Name: string(checkedKey(root)), Text: `{"kind":"checked","root":"` + string(root) + `","request":"` + string(root) + `"}`},
		}},
		{CacheSchema: cache.Schema, Roots: []parcel.Root{{Digest: root, TarSize: 1, SHA256: cache.Sum(nil)}}, Names: []parcel.Name{{Name: "bionic", Root: root}}},
	} {
		text, err := json.Marshal(x)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(written(f, &x), text)
	}
	f.Fuzz(func(t *testing.T, raw, text []byte) {
		if p, err := parcel.Read(t.Context(), bytes.NewReader(raw)); err == nil {
			if err := p.Each(pass[parcel.Root], pass[parcel.Download]); err == nil {
				judged(t, &p.Index)
			} else {
				hinted(t, err)
			}
		} else {
			hinted(t, err)
		}
		var x parcel.Index
		if json.Unmarshal(text, &x) == nil {
			judged(t, &x)
		}
	})
}

// judged judges an index twice, and compares what is read of its file with it.
func judged(t *testing.T, x *parcel.Index) {
	t.Helper()
	err := CheckCarried(x)
	if again := CheckCarried(x); (err == nil) != (again == nil) {
		t.Errorf("judged twice: %v, %v", err, again)
	}
	var file bytes.Buffer
	if parcel.Write(t.Context(), &file, x, nothing) != nil {
		return
	}
	p, err := parcel.Read(t.Context(), bytes.NewReader(file.Bytes()))
	if err == nil {
		err = p.Each(pass[parcel.Root], pass[parcel.Download])
	}
	if err != nil {
		t.Fatalf("what was written is not read: %v", err)
	}
	var second bytes.Buffer
	if err := parcel.Write(t.Context(), &second, &p.Index, nothing); err != nil || !bytes.Equal(file.Bytes(), second.Bytes()) {
		t.Errorf("written again it is another file: %v", err)
	}
}

func hinted(t *testing.T, err error) {
	t.Helper()
	var h interface{ Hint() string }
	if !errors.As(err, &h) || h.Hint() == "" {
		t.Errorf("no next step: %v", err)
	}
}

func pass[T any](_ T, r io.Reader) error {
	_, err := io.Copy(io.Discard, io.LimitReader(r, 1<<20))
	return err
}

// nothing is the content of every member.
func nothing(cache.Digest) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(nil)), nil }

func written(f *testing.F, x *parcel.Index) []byte {
	f.Helper()
	var b bytes.Buffer
	if err := parcel.Write(f.Context(), &b, x, nothing); err != nil {
		f.Fatal(err)
	}
	return b.Bytes()
}
