package deb

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// FuzzOpen reads anything as a package. What dpkg-deb unpacks from what we accept must be the same.
func FuzzOpen(f *testing.F) {
	need(f, "dpkg-deb")
	data := makeTar(f, tarEntry{"./usr/", 0o755, "", '5'}, tarEntry{"./usr/x", 0o644, "some text, some text", 0})
	for _, suffix := range []string{"", "gz", "xz", "zst", "bz2", "lzma"} {
		ext := ".tar"
		if suffix != "" {
			ext += "." + suffix
		}
		f.Add(makeAr(entry{"debian-binary", "2.0\n"}, entry{"control" + ext, string(compress(f, makeTar(f, controlTar...), suffix))},
			entry{"data" + ext, string(compress(f, data, suffix))}))
	}
	var pool Pool
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := pool.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		if c, err := d.Control(); err == nil && c.Members == nil {
			t.Fatal("control without members")
		}
		d.Limit = 1 << 20
		got, err := readData(d)
		if err != nil {
			return
		}
		path := filepath.Join(dir, "x.deb")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("dpkg-deb", "--fsys-tarfile", path)
		if want, err := cmd.Output(); err == nil && !bytes.Equal(want, got) {
			t.Fatalf("%x\n%d bytes, dpkg-deb has %d", b, len(got), len(want))
		}
	})
}

// FuzzControl reads anything as an uncompressed control member.
func FuzzControl(f *testing.F) {
	f.Add(makeTar(f, controlTar...))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := readControl(bytes.NewReader(b))
		if err != nil {
			return
		}
		total := 0
		for _, m := range c.Members {
			total += len(m.Data)
		}
		if total > len(b) {
			t.Fatalf("%d bytes out of %d", total, len(b))
		}
	})
}

// FuzzDecompress reads anything with every decoder, twice, so that a decoder that comes back to the
// pool after an error is used again.
func FuzzDecompress(f *testing.F) {
	for i, suffix := range []string{"gz", "xz", "zst", "bz2", "lzma"} {
		f.Add(compress(f, bytes.Repeat([]byte("some text "), 100), suffix), uint8(i))
	}
	var pool Pool
	f.Fuzz(func(t *testing.T, b []byte, which uint8) {
		suffix := []string{"gz", "xz", "zst", "bz2", "lzma"}[which%5]
		var results [2][]byte
		for i := range results {
			const limit = 1 << 20
			r, err := pool.Decompress(bytes.NewReader(b), suffix, limit)
			if err != nil {
				continue
			}
			results[i], _ = io.ReadAll(r)
			r.Close()
			if len(results[i]) > limit {
				t.Fatal("past the limit")
			}
		}
		if !bytes.Equal(results[0], results[1]) {
			t.Fatalf("%d bytes, then %d", len(results[0]), len(results[1]))
		}
	})
}
