package xz

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	oracle "github.com/ulikunitz/xz"
)

// plain texts of different nature.
func samples() map[string][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 300_000)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	var mixed bytes.Buffer // matches of every distance and length
	for mixed.Len() < 3<<19 {
		switch b := mixed.Bytes(); {
		case len(b) == 0 || r.IntN(3) == 0:
			mixed.Write(noise[r.IntN(1000):][:r.IntN(30)])
		default:
			from := max(0, len(b)-1-r.IntN(1<<(1+r.IntN(21))))
			mixed.Write(bytes.Clone(b[from:min(len(b), from+1+r.IntN(600))]))
		}
	}
	return map[string][]byte{
		"empty": nil, "one byte": {7}, "zeros": make([]byte, 3<<20), "noise": noise,
		"text":  []byte(strings.Repeat("The quick brown fox jumps over the lazy dog.\n", 20_000)),
		"mixed": mixed.Bytes(), "noise twice": append(bytes.Clone(noise), noise...),
	}
}

func TestRead(t *testing.T) {
	variants := [][]string{
		{}, {"-0"}, {"-6e"}, {"--check=none"}, {"--check=crc32"}, {"--check=sha256"}, {"--block-size=100000"}, {"-T2", "--block-size=400000"},
		{"--lzma2=dict=4KiB"}, {"--lzma2=dict=6KiB,lc=0,lp=4,pb=4"}, {"--lzma2=dict=64KiB,lc=4,lp=0,pb=0"}, {"--lzma2=preset=0,dict=1MiB,lc=1,lp=3,pb=1,nice=273"},
	}
	var z Reader
	for name, plain := range samples() {
		for _, args := range variants {
			packed := compress(t, plain, args...)
			z.Reset(bytes.NewReader(packed), testDictionary)
			if got, err := io.ReadAll(&z); err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("%s %v: %v, %d bytes of %d", name, args, err, len(got), len(plain))
			}
			if n, err := z.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Fatalf("after the end: %d, %v", n, err)
			}
		}
	}
}

func TestStreams(t *testing.T) {
	one, two := compress(t, []byte("one")), compress(t, []byte("two"), "--check=crc32")
	empty := compress(t, nil)
	for summary, c := range map[string]struct {
		file []byte
		want string
		ok   bool
	}{
		"two":                  {join(one, two), "onetwo", true},
		"padding between":      {join(one, make([]byte, 8), two), "onetwo", true},
		"padding at end":       {join(one, make([]byte, 4)), "one", true},
		"empty ones":           {join(empty, empty, one, empty), "one", true},
		"odd padding":          {join(one, make([]byte, 5), two), "one", false},
		"odd padding at end":   {join(one, make([]byte, 3)), "one", false},
		"padding first":        {join(make([]byte, 4), one), "", false},
		"rubbish after":        {join(one, []byte("rubbish rubbish")), "one", false},
		"second stream is cut": {join(one, two[:len(two)-1]), "onetwo", false},
		"nothing":              {nil, "", false},
	} {
		got, err := decompress(c.file)
		if string(got) != c.want || (err == nil) != c.ok {
			t.Errorf("%s: %q, %v", summary, got, err)
		}
	}
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// TestEveryByteCounts changes each byte of a file and cuts it everywhere: all of it is verified.
func TestEveryByteCounts(t *testing.T) {
	plain := []byte(strings.Repeat("some text and 0123456789 ", 20))
	for _, args := range [][]string{{}, {"--check=crc32", "--block-size=200"}, {"--check=sha256"}, {"-T2", "--block-size=300"}} {
		packed := compress(t, plain, args...)
		for i := range packed {
			for _, bit := range []byte{1, 0x80} {
				changed := bytes.Clone(packed)
				changed[i] ^= bit
				if _, err := decompress(changed); err == nil {
					t.Errorf("%v: byte %d of %d changed, no error", args, i, len(packed))
				}
			}
			if got, err := decompress(packed[:i]); err == nil || !bytes.HasPrefix(plain, got) {
				t.Errorf("%v: cut to %d of %d bytes: %v, %q", args, i, len(packed), err, got)
			}
		}
	}
}

func TestDictionaryLimit(t *testing.T) {
	packed := compress(t, []byte("x"), "--lzma2=dict=8MiB")
	for limit, ok := range map[int64]bool{8 << 20: true, 8<<20 - 1: false, 4096: false} {
		var z Reader
		z.Reset(bytes.NewReader(packed), limit)
		_, err := io.ReadAll(&z)
		var e *DictionaryError
		if ok != (err == nil) || !ok && (!errors.As(err, &e) || e.Size != 8<<20 || e.Limit != limit) {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
}

func TestUnsupported(t *testing.T) {
	for _, args := range [][]string{{"--x86", "--lzma2"}, {"--delta=dist=4", "--lzma2"}} {
		_, err := decompress(compress(t, []byte("some text"), args...))
		if e := (*UnsupportedError)(nil); !errors.As(err, &e) || !strings.Contains(err.Error(), "chain of 2 filters") {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestZeroReader(t *testing.T) {
	var z Reader
	if _, err := z.Read(make([]byte, 1)); err == nil {
		t.Error("read without an input")
	}
}

// TestMemory: decoding one file after another allocates next to nothing.
func TestMemory(t *testing.T) {
	packed := compress(t, samples()["mixed"])
	var z Reader
	in := bytes.NewReader(packed)
	allocated := testing.AllocsPerRun(5, func() {
		in.Reset(packed)
		z.Reset(in, testDictionary)
		if _, err := io.Copy(io.Discard, struct{ io.Reader }{&z}); err != nil {
			t.Fatal(err)
		}
	})
	if allocated > 100 {
		t.Errorf("%v allocations", allocated)
	}
	if n := len(z.buf); n > 8<<20+4096 {
		t.Errorf("window of %d bytes for a dictionary of 8 MiB", n)
	}
	in.Reset(compress(t, []byte("x"), "--lzma2=mode=fast,mf=hc3,dict=48MiB"))
	z.Reset(in, testDictionary)
	if _, err := io.ReadAll(&z); err != nil {
		t.Fatal(err)
	}
	z.Reset(in, testDictionary)
	if len(z.buf) != 0 {
		t.Errorf("a window of %d bytes is kept", len(z.buf))
	}
}

// agree checks that we take what xz takes, for what it takes it; ulikunitz/xz, which verifies
// less, must never yield something else.
func agree(t *testing.T, file []byte) {
	t.Helper()
	got, err := decompress(file)
	if e := (*UnsupportedError)(nil); errors.As(err, &e) {
		return
	}
	cmd := exec.Command("xz", "-dcq", "--memlimit=80MiB")
	cmd.Stdin = bytes.NewReader(file)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	want, xzErr := cmd.Output()
	if len(file) > 0 && (err == nil) != (xzErr == nil) || err == nil && !bytes.Equal(got, want) {
		t.Fatalf("%x\n%v, %d bytes; xz: %v, %d bytes: %s", file, err, len(got), xzErr, len(want), stderr.Bytes())
	}
	if err != nil {
		return
	}
	r, err := oracle.NewReader(bytes.NewReader(file))
	if err != nil {
		return
	}
	if theirs, err := io.ReadAll(r); err == nil && !bytes.Equal(theirs, got) {
		t.Fatalf("%d bytes, ulikunitz/xz has %d", len(got), len(theirs))
	}
}

// chunked wraps raw LZMA2 data in a file without a check or index errors, so that the fuzzer gets
// past the frame.
func chunked(raw []byte, dict byte) []byte {
	header := []byte{2, 0, 0x21, 1, dict, 0, 0, 0}
	return assemble(header, raw)
}

func FuzzChunks(f *testing.F) {
	if _, err := exec.LookPath("xz"); err != nil {
		f.Skip("needs xz: the oracle")
	}
	for name, plain := range samples() {
		if len(plain) > 20_000 {
			plain = plain[:20_000]
		}
		if name == "empty" {
			continue
		}
		f.Add(compress(f, plain, "--format=raw", "--lzma2=dict=4KiB"), byte(0))
		f.Add(compress(f, plain, "--format=raw", "--lzma2=dict=8KiB,lc=0,lp=2,pb=0"), byte(2))
	}
	f.Add(join(compress(f, []byte("abcabcabcabc"), "--format=raw", "--lzma2=dict=4KiB"), []byte{1, 0, 1, 'x', 'y', 2, 0, 0, 'z', 0}), byte(0))
	f.Fuzz(func(t *testing.T, raw []byte, dict byte) {
		agree(t, chunked(raw, dict%12))
	})
}

func FuzzFile(f *testing.F) {
	if _, err := exec.LookPath("xz"); err != nil {
		f.Skip("needs xz: the oracle")
	}
	for _, args := range [][]string{{}, {"--check=crc32", "--block-size=10"}, {"--check=none"}} {
		f.Add(compress(f, []byte("some text, some text, some text"), args...))
	}
	f.Fuzz(func(t *testing.T, file []byte) { agree(t, mend(file)) })
}

func TestAgree(t *testing.T) {
	for summary, raw := range map[string][]byte{
		"no chunk":                     {0},
		"copied":                       {1, 0, 1, 'a', 'b', 0},
		"no dictionary reset":          {2, 0, 0, 'a', 0},
		"copied, then without reset":   {1, 0, 0, 'a', 2, 0, 0, 'b', 0},
		"reserved control":             {3, 0, 0, 'a', 0},
		"no properties":                {1, 0, 0, 'a', 0xa0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0},
		"bad properties":               {0xe0, 0, 0, 0, 4, 225, 0, 0, 0, 0, 0, 0},
		"lc + lp of 5":                 {0xe0, 0, 0, 0, 4, 4 + 9, 0, 0, 0, 0, 0, 0},
		"first byte not zero":          {0xe0, 0, 0, 0, 4, 0x5d, 1, 0, 0, 0, 0, 0},
		"compressed size of four":      {0xe0, 0, 0, 0, 3, 0x5d, 0, 0, 0, 0, 0},
		"all zeros":                    {0xe0, 0, 0, 0, 4, 0x5d, 0, 0, 0, 0, 0, 0},
		"all ones":                     {0xe0, 0, 9, 0, 8, 0x5d, 0, 255, 255, 255, 255, 255, 255, 255, 255, 0},
		"bytes left over in the chunk": {0xe0, 0, 0, 0, 6, 0x5d, 0, 0, 0, 0, 0, 0, 0, 0},
		"cut off":                      {0xe0, 0, 0, 0, 9, 0x5d, 0, 0},
	} {
		t.Run(summary, func(t *testing.T) { agree(t, chunked(raw, 0)) })
	}
	for name, plain := range samples() {
		for dict := byte(0); dict < 3; dict++ {
			raw := compress(t, plain, "--format=raw", fmt.Sprintf("--lzma2=dict=%dKiB,lc=2,lp=2", 4<<dict))
			t.Run(name, func(t *testing.T) { agree(t, chunked(raw, 2*dict)) })
			// A dictionary smaller than the distances in use must be noticed.
			t.Run(name+" small", func(t *testing.T) { agree(t, chunked(raw, 0)) })
		}
	}
}
