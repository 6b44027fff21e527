package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// prose is n bytes that compress well but not to nothing.
func prose(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%d is the number of this line, and %d is that of another\n", i, i*7919%10007)
	}
	return b.Bytes()[:n]
}

func pack(t *testing.T, c Compression, content []byte, step int) []byte {
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
	for c, tool := range map[Compression]string{Zstd: "zstd", Gzip: "gzip", XZ: "xz"} {
		var want []byte
		content, steps := all, []int{1 << 20, 4097, len(all)}
		if c == XZ { // it takes its time
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
	if got := Sum(pack(t, Zstd, all, 1<<20)); string(got) != golden || ZstdEpoch != epoch {
		t.Errorf("zstd: %s", got)
	}
	if head := pack(t, Gzip, all, 1<<20)[:10]; string(head) != "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" {
		t.Errorf("gzip's header %x has a name, flags or a time", head)
	}
}

// An error of the reader below ends the compressor with it.
func TestCompressFails(t *testing.T) {
	for _, c := range []Compression{Zstd, Gzip, None} { // xz goes the way of zstd
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

// Place makes the tree again, of all kinds of things, and finds what was changed.
func TestPlace(t *testing.T) {
	tree := oddTree(t)
	m, d, _, err := Scan(t.Context(), tree, ScanOptions{Epoch: epoch, Extra: devices})
	must(t, err)
	must(t, m.Settle(tree))
	dst := t.TempDir()
	left, err := m.Place(t.Context(), tree, dst, PlaceOptions{})
	must(t, err)
	if left != (Placed{}) {
		t.Errorf("left out: %+v", left)
	}
	if _, again, _, err := Scan(t.Context(), dst, ScanOptions{Epoch: epoch}); err != nil || again != d {
		t.Errorf("placed it is %s, was %s (%v)", again.Short(), d.Short(), err)
	}
	if left, err := m.Place(t.Context(), tree, t.TempDir(), PlaceOptions{NoDevices: true, NoOwners: true}); err != nil || left.Devices != 2 || left.Owners == 0 {
		t.Errorf("left out %+v (%v)", left, err)
	}
	must(t, exec.Command("cp", "/bin/true", tree+"/su").Run())
	var bad *TreeError
	if _, err := m.Place(t.Context(), tree, t.TempDir(), PlaceOptions{}); !errors.As(err, &bad) {
		t.Errorf("a changed tree: %v", err)
	}
}
