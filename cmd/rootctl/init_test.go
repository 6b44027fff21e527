package main

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// What all packages together may do before main begins, which every run pays for. Beside it stands what was measured
// when the bound was set. Who exceeds it either makes tables and compiles expressions when they are first needed, or
// keeps the package away from this program.
const (
	mostInitBytes  = 450_000 // 413,000; 230,000 and 2,700 allocations are expressions that oras compiles, to be kept away from run
	mostInitAllocs = 4_100   // 3,780
	mostInitMS     = 5.0     // 0.96 on a quiet machine: a loaded one must not fail
	mostOwnBytes   = 4_000   // of one package of this module; 632
)

// The same of the quick program, which does most runs.
const (
	mostQuickBytes  = 8_000 // 6,080
	mostQuickAllocs = 100   // 70
	mostQuickMS     = 2.0   // 0.12, with other work on the machine
)

// TestInitIsCheap reads the runtime's own account of the start of `rootctl run`.
func TestInitIsCheap(t *testing.T) {
	program := filepath.Join(t.TempDir(), "rootctl")
	build := exec.Command("go", "build", "-trimpath", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as make build does
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	checkInits(t, initCost{bytes: mostInitBytes, allocs: mostInitAllocs, ms: mostInitMS}, program, "run", "--no-build", "--cache", t.TempDir(), "no-such-root", "true")
}

// TestQuickInitIsCheap reads that of the quick program by itself, which says that there is no whole one.
func TestQuickInitIsCheap(t *testing.T) {
	program := filepath.Join(t.TempDir(), "quick")
	build := exec.Command("go", "build", "-trimpath", "-o", program, "../../internal/quick")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	checkInits(t, initCost{bytes: mostQuickBytes, allocs: mostQuickAllocs, ms: mostQuickMS}, program)
}

func checkInits(t *testing.T, most initCost, program string, args ...string) {
	t.Helper()
	least := initCost{ms: 1e9}
	for range 5 {
		c := exec.Command(program, args...)
		if len(args) == 0 {
			c.Args = []string{"rootctl:"}
		}
		c.Env = []string{"GODEBUG=inittrace=1"}
		var errs bytes.Buffer
		c.Stderr = &errs
		if err := c.Run(); c.ProcessState.ExitCode() != codeRunFailed {
			t.Fatalf("run: %v\n%s", err, errs.String())
		}
		if cost := readInits(t, errs.Bytes()); cost.ms < least.ms {
			least = cost
		}
	}
	if least.packages < 20 {
		t.Fatalf("%d packages in the account", least.packages)
	}
	if least.bytes > most.bytes || least.allocs > most.allocs || least.ms > most.ms {
		t.Errorf("package initialisation takes %d bytes, %d allocations, %.2f ms, at most %d, %d and %.0f are allowed; the most: %s",
			least.bytes, least.allocs, least.ms, most.bytes, most.allocs, most.ms, least.biggest)
	}
	for _, line := range least.ours {
		t.Errorf("a package of ours allocates more than %d bytes before main begins: %s", mostOwnBytes, line)
	}
	t.Logf("%d packages, %d bytes, %d allocations, %.2f ms", least.packages, least.bytes, least.allocs, least.ms)
}

// initCost sums lines of GODEBUG=inittrace=1.
type initCost struct {
	packages, bytes, allocs int
	ms                      float64
	biggest                 string
	ours                    []string // lines of packages above mostOwnBytes
}

// readInits reads lines like "init os @0.21 ms, 0.016 ms clock, 432 bytes, 9 allocs".
func readInits(t *testing.T, trace []byte) initCost {
	t.Helper()
	var c initCost
	most := 0
	for sc := bufio.NewScanner(bytes.NewReader(trace)); sc.Scan(); {
		f := strings.Fields(sc.Text())
		if len(f) != 11 || f[0] != "init" {
			continue
		}
		ms, err := strconv.ParseFloat(f[4], 64)
		n, err2 := strconv.Atoi(f[7])
		allocs, err3 := strconv.Atoi(f[9])
		if err != nil || err2 != nil || err3 != nil {
			t.Fatalf("not understood: %s", sc.Text())
		}
		c.packages++
		c.bytes, c.allocs, c.ms = c.bytes+n, c.allocs+allocs, c.ms+ms
		if n > most {
			most, c.biggest = n, sc.Text()
		}
		if strings.HasPrefix(f[1], "github.com/rootctl/") && n > mostOwnBytes {
			c.ours = append(c.ours, sc.Text())
		}
	}
	return c
}
