package parcel

import (
	"bytes"
	"context"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/rootctl/rootctl/internal/cache/pack"
	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// packedIndex is a parcel of nothing but an index of that text.
func packedIndex(t *testing.T, text io.Reader) []byte {
	t.Helper()
	var packed, out bytes.Buffer
	z, err := pack.Compress(snapshot.Zstd, &packed)
	if err == nil {
		_, err = io.Copy(z, text)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	sum := snapshot.Sum(packed.Bytes())
	if err := member(context.Background(), &out, indexName(sum), int64(packed.Len()), sum, &packed); err != nil {
		t.Fatal(err)
	}
	out.Write(make([]byte, 2*block))
	return out.Bytes()
}

// Some kilobytes that unpack to millions of empty entries are refused before there is room for them.
func TestIndexOfEmptyEntries(t *testing.T) {
	const n = 16 << 20
	p := packedIndex(t, io.MultiReader(strings.NewReader(`{"cache_schema":1,"roots":[{}`), io.LimitReader(&repeated{s: ",{}"}, 3*n), strings.NewReader("]}")))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := Read(context.Background(), bytes.NewReader(p))
	runtime.ReadMemStats(&after)
	if err == nil || !strings.Contains(err.Error(), "entries") {
		t.Errorf("an index of %d entries in %d bytes: %v", n, len(p), err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > n*72/2 {
		t.Errorf("%d bytes were taken for what was refused", took)
	}
}

type repeated struct {
	s string
	n int
}

func (r *repeated) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = r.s[r.n%len(r.s)]
		r.n++
	}
	return len(b), nil
}

func TestIndexThatIsNone(t *testing.T) {
	for _, text := range []string{``, `[]`, `null`, `{"roots":{}}`, `{"roots":[]`, `{"other":[]}`, `{"roots":[{"other":1}]}`, `{"roots":[]} x`, `{"cache_schema":"1"}`, `{"names":[1]}`} {
		if _, err := Read(context.Background(), bytes.NewReader(packedIndex(t, strings.NewReader(text)))); err == nil {
			t.Errorf("%s is read", text)
		}
	}
	for _, text := range []string{`{"cache_schema":1,"roots":null,"records":[],"names":[]}`, `{}`} {
		if _, err := Read(context.Background(), bytes.NewReader(packedIndex(t, strings.NewReader(text)))); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}
