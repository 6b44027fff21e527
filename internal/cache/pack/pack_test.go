package pack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// prose is n bytes that compress well but not to nothing.
func prose(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%d is the number of this line, and %d is that of another\n", i, i*7919%10007)
	}
	return b.Bytes()[:n]
}

func pack(t *testing.T, c snapshot.Compression, content []byte, step int) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := Compress(c, &out)
	must(t, err)
	for len(content) > 0 {
		n, err := w.Write(content[:min(step, len(content))])
		must(t, err)
		content = content[n:]
	}
	must(t, w.Close())
	return out.Bytes()
}

// The bytes do not depend on the processors or on how the content comes, and every tool reads them.
func TestCompressedBytes(t *testing.T) {
	all := prose(2*zstdBlock + 12345)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for c, tool := range map[snapshot.Compression]string{snapshot.Zstd: "zstd", snapshot.Gzip: "gzip", snapshot.XZ: "xz"} {
		var want []byte
		content, steps := all, []int{1 << 20, 4097, len(all)}
		if c == snapshot.XZ { // it takes its time
			content, steps = all[:xzBlock+123456], []int{1 << 20, len(all)}
		}
		for i, step := range steps {
			runtime.GOMAXPROCS([]int{2, 1, 7}[i])
			got := pack(t, c, content, step)
			if want == nil {
				want = got
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s: other bytes in steps of %d", c, step)
			}
		}
		d := exec.Command(tool, "-dc")
		d.Stdin = bytes.NewReader(want)
		if out, err := d.Output(); err != nil || !bytes.Equal(out, content) {
			t.Errorf("%s -dc: %d bytes (%v)", tool, len(out), err)
		}
		d = exec.Command(tool, "-dc")
		d.Stdin = bytes.NewReader(pack(t, c, nil, 1))
		if out, err := d.Output(); err != nil || len(out) > 0 {
			t.Errorf("%s -dc of nothing: %q (%v)", tool, out, err)
		}
	}
	// Where this fails the encoder makes other bytes than it did: raise ZstdEpoch, and write the new digest here.
	const golden, epoch = "82f34a4556fdb250a36bec206be4709144e42c0f0212288a857951c9ee517d5f", 2
	if got := snapshot.Sum(pack(t, snapshot.Zstd, all, 1<<20)); string(got) != golden || snapshot.ZstdEpoch != epoch {
		t.Errorf("zstd: %s", got)
	}
	if head := pack(t, snapshot.Gzip, all, 1<<20)[:10]; string(head) != "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" {
		t.Errorf("gzip's header %x has a name, flags or a time", head)
	}
}

// An error of the reader below ends the compressor with it.
func TestCompressFails(t *testing.T) {
	for _, c := range []snapshot.Compression{snapshot.Zstd, snapshot.Gzip, snapshot.None} { // xz goes the way of zstd
		r, w := io.Pipe()
		go func() {
			_, _ = io.CopyN(io.Discard, r, 10)
			r.CloseWithError(errors.New("no more room"))
		}()
		p, err := Compress(c, w)
		must(t, err)
		content := prose(3 * zstdBlock)
		for range 3 {
			if _, err = p.Write(content); err != nil {
				break
			}
		}
		if err == nil {
			err = p.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "no more room") {
			t.Errorf("%s: %v", c, err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
