package xz

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	oracle "github.com/ulikunitz/xz"
)

const testDictionary = 64 << 20

func decompress(packed []byte) ([]byte, error) {
	var z Reader
	z.Reset(bufio.NewReader(bytes.NewReader(packed)), testDictionary)
	return io.ReadAll(&z)
}

func compress(t testing.TB, plain []byte, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath("xz"); err != nil {
		t.Skip("needs xz: it makes what is read here")
	}
	cmd := exec.Command("xz", append([]string{"-c"}, args...)...)
	cmd.Stdin = bytes.NewReader(plain)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("xz %v: %v %s", args, err, stderr.Bytes())
	}
	return out
}

// BenchmarkRead compares with the library this package replaces, on a file named in the
// environment: XZ_BENCH=data.tar.xz.
func BenchmarkRead(b *testing.B) {
	packed, err := os.ReadFile(os.Getenv("XZ_BENCH"))
	if err != nil {
		b.Skip("needs XZ_BENCH: the file to decompress")
	}
	measure := func(name string, open func() io.Reader) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var n int64
			before := cpu(b)
			for b.Loop() {
				if n, err = io.Copy(io.Discard, open()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/1e6/(cpu(b)-before).Seconds(), "MB/cpu-s")
		})
	}
	var z Reader
	measure("ours", func() io.Reader {
		z.Reset(bufio.NewReader(bytes.NewReader(packed)), testDictionary)
		return &z
	})
	measure("ulikunitz", func() io.Reader {
		r, err := oracle.NewReader(bufio.NewReader(bytes.NewReader(packed)))
		if err != nil {
			b.Fatal(err)
		}
		return r
	})
}

// cpu is the processor time used so far, which other work on the machine disturbs less than the
// clock.
func cpu(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
