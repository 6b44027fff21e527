package deb

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// run returns what a command prints.
func run(t testing.TB, stdin []byte, argv ...string) []byte {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, stderr.Bytes())
	}
	return out
}

func need(t testing.TB, tool string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		t.Skipf("needs %s: it makes what is read here, or says how it should be read", tool)
	}
}

// header is one tar entry; Name ending in "/" makes a directory.
type tarEntry struct {
	name string
	mode int64
	body string
	kind byte
}

func makeTar(t testing.TB, entries ...tarEntry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.body)), Typeflag: e.kind, Format: tar.FormatGNU}
		if e.kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Typeflag == tar.TypeSymlink {
			h.Linkname, h.Size, e.body = e.body, 0, ""
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var controlTar = []tarEntry{
	{"./", 0o755, "", tar.TypeDir},
	{"./control", 0o644, "Package: x\nVersion: 1\n", 0},
	{"./postinst", 0o755, "#!/bin/sh\n", 0},
}

// compress runs the tool a suffix stands for.
func compress(t testing.TB, plain []byte, suffix string) []byte {
	tool := map[string][]string{"gz": {"gzip", "-c"}, "xz": {"xz", "-c"}, "zst": {"zstd", "-qc"}, "bz2": {"bzip2", "-c"}, "lzma": {"xz", "--format=lzma", "-c"}}
	if suffix == "" {
		return plain
	}
	need(t, tool[suffix][0])
	return run(t, plain, tool[suffix]...)
}

func TestCompressions(t *testing.T) {
	// Compressible, longer than buffers, of odd length.
	data := makeTar(t, tarEntry{"./big", 0o644, strings.Repeat("some text, ", 50000), 0})
	data = append(data, 0)
	var pool Pool
	for _, suffix := range []string{"", "gz", "xz", "zst", "bz2", "lzma"} {
		t.Run("tar."+suffix, func(t *testing.T) {
			ext := ".tar"
			if suffix != "" {
				ext += "." + suffix
			}
			packed := compress(t, data, suffix)
			b := makeAr(entry{"debian-binary", "2.0\n"}, entry{"control" + ext, string(compress(t, makeTar(t, controlTar...), suffix))},
				entry{"data" + ext, string(packed)})
			for range 2 { // the second round takes decoders from the pool
				d, err := pool.Open(bytes.NewReader(b), int64(len(b)))
				if err != nil {
					t.Fatal(err)
				}
				c, err := d.Control()
				if err != nil || c.Paragraph != "Package: x\nVersion: 1\n" || len(c.Members) != 2 || c.Members[1].Mode != 0o755 {
					t.Fatalf("%v %+v", err, c)
				}
				d.Limit = int64(len(data))
				if got, err := readData(d); err != nil || !bytes.Equal(got, data) {
					t.Fatalf("%v, %d bytes of %d", err, len(got), len(data))
				}
				d.Limit--
				var limit *LimitError
				if got, err := readData(d); !errors.As(err, &limit) || !bytes.Equal(got, data[:len(data)-1]) {
					t.Fatalf("past the limit: %v, %d bytes", err, len(got))
				}
			}
			if suffix == "" {
				return
			}
			for _, cut := range []int{1, 8, len(packed) / 2, len(packed) - 1} {
				r, err := pool.Decompress(bytes.NewReader(packed[:cut]), suffix, 1<<30)
				if err == nil {
					_, err = io.Copy(io.Discard, r)
					r.Close()
				}
				if err == nil {
					t.Errorf("cut to %d of %d bytes: no error", cut, len(packed))
				}
			}
		})
	}
}

func readData(d *Reader) ([]byte, error) {
	r, err := d.Data()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// TestDictionaries: a package must not say how much memory we use.
func TestDictionaries(t *testing.T) {
	xz := compress(t, []byte("text"), "xz")
	xz[16] = 30 // 12 + size, flags, filter, length of properties: a dictionary of 128 MiB
	binary.LittleEndian.PutUint32(xz[20:], crc32.ChecksumIEEE(xz[12:20]))
	lzma := compress(t, []byte("text"), "lzma")
	binary.LittleEndian.PutUint32(lzma[1:], 1<<30)
	zst := compress(t, []byte("text"), "zst")
	zst[5] = (29 - 10) << 3 // a window of 512 MiB
	for suffix, packed := range map[string][]byte{"xz": xz, "lzma": lzma, "zst": zst} {
		r, err := new(Pool).Decompress(bytes.NewReader(packed), suffix, 1<<20)
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			r.Close()
		}
		if err == nil || !strings.Contains(err.Error(), map[string]string{"xz": "dictionary", "lzma": "dictionary", "zst": "window"}[suffix]) {
			t.Errorf("%s: %v", suffix, err)
		}
	}
}

func TestUnknownCompression(t *testing.T) {
	for _, name := range []string{"data.tar.lz4", "data.tar.", "data.tarx", "data.tar.gz.xz"} {
		d, err := open(makeAr(entry{"debian-binary", "2.0\n"}, entry{"control.tar", ""}, entry{name, ""}))
		if err == nil {
			_, err = d.Data()
		}
		if !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReadAfterClose(t *testing.T) {
	r, err := new(Pool).Decompress(strings.NewReader("abc"), "", 10)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	r.Close()
	if n, err := r.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Error(n, err)
	}
}

func TestHostileControl(t *testing.T) {
	many := append([]tarEntry(nil), controlTar...)
	for i := range MaxControlMembers {
		many = append(many, tarEntry{name: "f" + string(rune('0'+i%10)) + strings.Repeat("x", i/10)})
	}
	for summary, c := range map[string]struct{ entries []tarEntry }{
		"no control":       {controlTar[2:]},
		"control twice":    {append(controlTar, controlTar[1])},
		"control as link":  {[]tarEntry{{"control", 0o777, "/etc/passwd", tar.TypeSymlink}}},
		"member in folder": {append(controlTar, tarEntry{name: "./a/b"})},
		"folder":           {append(controlTar, tarEntry{name: "./a/", kind: tar.TypeDir})},
		"climbing":         {append(controlTar, tarEntry{name: "../x"})},
		"absolute":         {append(controlTar, tarEntry{name: "/x"})},
		"dots":             {append(controlTar, tarEntry{name: ".."})},
		"fifo":             {append(controlTar, tarEntry{name: "f", kind: tar.TypeFifo})},
		"too many":         {many},
	} {
		d, err := open(makeAr(entry{"debian-binary", "2.0\n"}, entry{"control.tar", string(makeTar(t, c.entries...))}, entry{"data.tar", ""}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Control(); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", summary, err)
		}
	}
}

func TestControlBomb(t *testing.T) {
	bomb := compress(t, makeTar(t, controlTar[1], tarEntry{name: "bomb", body: strings.Repeat("\x00", MaxControl)}), "gz")
	d, err := open(makeAr(entry{"debian-binary", "2.0\n"}, entry{"control.tar.gz", string(bomb)}, entry{"data.tar", ""}))
	if err != nil {
		t.Fatal(err)
	}
	var limit *LimitError
	if _, err := d.Control(); !errors.As(err, &limit) {
		t.Error(err)
	}
}

// compareWithDpkg reads a package whole and checks every byte against dpkg-deb.
func compareWithDpkg(t *testing.T, pool *Pool, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	d, err := pool.Open(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	got, err := readData(d)
	if want := run(t, nil, "dpkg-deb", "--fsys-tarfile", path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("data: %v, %d bytes, dpkg-deb has %d", err, len(got), len(want))
	}
	c, err := d.Control()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	run(t, nil, "dpkg-deb", "--control", path, dir)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(c.Members) {
		t.Fatalf("%d members, dpkg-deb has %d, %v", len(c.Members), len(entries), err)
	}
	for _, m := range c.Members {
		want, err := os.ReadFile(filepath.Join(dir, m.Name))
		if err != nil || !bytes.Equal(want, m.Data) {
			t.Errorf("%s: %v %s", m.Name, err, cmp.Diff(string(want), string(m.Data)))
		}
		if info, err := os.Stat(filepath.Join(dir, m.Name)); err != nil || uint32(info.Mode().Perm()) != m.Mode&0o777 {
			t.Errorf("%s: mode %o, %v %v", m.Name, m.Mode, info.Mode(), err)
		}
	}
	if c.Paragraph == "" {
		t.Error("no control paragraph")
	}
}

// TestAgainstDpkg reads packages dpkg-deb built, with every compression it knows.
func TestAgainstDpkg(t *testing.T) {
	need(t, "dpkg-deb")
	root := t.TempDir()
	for path, body := range map[string]string{
		"DEBIAN/control":   "Package: fixture\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: fixture\n",
		"DEBIAN/postinst":  "#!/bin/sh\nexit 0\n",
		"DEBIAN/conffiles": "/etc/fixture\n",
		"etc/fixture":      "x",
		"usr/share/odd":    strings.Repeat("0123456789", 30001),
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if strings.HasSuffix(path, "postinst") {
			mode = 0o755
		}
		if err := os.WriteFile(filepath.Join(root, path), []byte(body), mode); err != nil {
			t.Fatal(err)
		}
	}
	var pool Pool
	for _, args := range [][]string{{"-Znone"}, {"-Zgzip"}, {"-Zxz"}, {"-Zxz", "-Sextreme", "-z9"}, {"-Zzstd"}, {"-Zzstd", "-z22"},
		{"-Zxz", "--no-uniform-compression"}} {
		t.Run(strings.Join(args, ""), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "fixture.deb")
			argv := append([]string{"dpkg-deb", "--root-owner-group", "--build"}, args...)
			run(t, nil, append(argv, root, path)...)
			compareWithDpkg(t, &pool, path)
		})
	}
}

// TestConcurrent reads one package from several goroutines with one pool.
func TestConcurrent(t *testing.T) {
	data := makeTar(t, tarEntry{"./x", 0o644, strings.Repeat("some text, ", 30000), 0})
	var pool Pool
	var group sync.WaitGroup
	for _, suffix := range []string{"gz", "xz", "zst"} {
		b := makeAr(entry{"debian-binary", "2.0\n"}, entry{"control.tar." + suffix, string(compress(t, makeTar(t, controlTar...), suffix))},
			entry{"data.tar." + suffix, string(compress(t, data, suffix))})
		d, err := pool.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			group.Go(func() {
				if _, err := d.Control(); err != nil {
					t.Error(err)
				}
				if got, err := readData(d); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%s: %v, %d bytes", suffix, err, len(got))
				}
			})
		}
	}
	group.Wait()
}
