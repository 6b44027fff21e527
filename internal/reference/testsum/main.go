// Command testsum reads the events of `go test -json` and prints what a person wants of them: failures
// with their output, every skip with its reason, and one closing line.
//
//	go test -json ./... | go run ./internal/reference/testsum --strict
//
// It exits with 1 when a test failed, when the events end early, and with --strict when a test that
// ought to run was skipped: any but those that need the real archives on the network.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"
	"strings"
)

// loud is how the reason of a skip begins that is right when the real archives are out of reach.
const loud = "needs archive:"

func main() {
	strict := flag.Bool("strict", false, "a skip is a failure, unless its reason begins with \""+loud+"\"")
	slow := flag.Int("slow", 5, "how many of the slowest packages to name")
	flag.Parse()
	s, err := read(os.Stdin)
	if err != nil {
		fmt.Fprintf(os.Stderr, "testsum: %v\n", err)
		os.Exit(1)
	}
	if !s.print(os.Stdout, *strict, *slow) {
		os.Exit(1)
	}
}

// event is one of `go test -json`, and of `go build -json` that it passes on.
type event struct {
	Action, Package, Test, Output, ImportPath, FailedBuild string
	Elapsed                                                float64
}

// outcome is how a test or package ended.
type outcome struct {
	pkg, test, output string
	seconds           float64
}

type summary struct {
	passed                  int
	failed, skipped         []outcome
	packages, failedPackage []outcome
	open                    []string // packages that began and never ended
	build                   string
}

func read(r io.Reader) (*summary, error) {
	s := &summary{}
	output := map[[2]string]*strings.Builder{}
	began := map[string]bool{}
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 64<<10), 16<<20)
	for in.Scan() {
		var e event
		if err := json.Unmarshal(in.Bytes(), &e); err != nil {
			s.build += in.Text() + "\n" // what go itself says, outside of events
			continue
		}
		key := [2]string{e.Package, e.Test}
		switch e.Action {
		case "start":
			began[e.Package] = true
		case "build-output":
			s.build += e.Output
		case "output":
			if output[key] == nil {
				output[key] = &strings.Builder{}
			}
			output[key].WriteString(e.Output)
		case "pass", "fail", "skip":
			o := outcome{pkg: e.Package, test: e.Test, seconds: e.Elapsed}
			if b := output[key]; b != nil {
				o.output = b.String()
			}
			delete(output, key)
			if e.Test == "" {
				delete(began, e.Package)
			}
			s.add(e.Action, o)
		}
	}
	for p := range began {
		s.open = append(s.open, p)
	}
	slices.Sort(s.open)
	return s, in.Err()
}

func (s *summary) add(action string, o outcome) {
	if o.test == "" {
		s.packages = append(s.packages, o)
		if action == "fail" {
			s.failedPackage = append(s.failedPackage, o)
		}
		return
	}
	switch action {
	case "pass":
		s.passed++
	case "fail":
		s.failed = append(s.failed, o)
	case "skip":
		s.skipped = append(s.skipped, o)
	}
}

// reason is what a skipped test said: its last line of output that go test did not write itself.
func (o outcome) reason() string {
	reason := "no reason"
	for line := range strings.SplitSeq(o.output, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		reason = line
		if _, rest, ok := strings.Cut(line, ".go:"); ok { // file.go:12: reason
			if _, text, ok := strings.Cut(rest, ": "); ok {
				reason = text
			}
		}
	}
	return reason
}

func (s *summary) print(w io.Writer, strict bool, slow int) bool {
	if s.build != "" {
		fmt.Fprint(w, s.build)
	}
	for _, o := range append(s.failed, s.failedPackage...) {
		fmt.Fprintf(w, "FAIL %s %s\n%s", o.pkg, o.test, o.output)
	}
	for _, p := range s.open {
		fmt.Fprintf(w, "FAIL %s: its tests never ended\n", p)
	}
	wrong := 0
	for _, o := range s.skipped {
		word := "skip"
		if strict && !strings.HasPrefix(o.reason(), loud) {
			word = "FAIL skipped, ought to run:"
			wrong++
		} else if strings.HasPrefix(o.reason(), loud) {
			word = "SKIPPED, NOT TESTED:"
		}
		fmt.Fprintf(w, "%s %s %s: %s\n", word, o.pkg, o.test, o.reason())
	}
	sort.Slice(s.packages, func(i, j int) bool { return s.packages[i].seconds > s.packages[j].seconds })
	for _, p := range s.packages[:min(slow, len(s.packages))] {
		fmt.Fprintf(w, "%7.1f s  %s\n", p.seconds, p.pkg)
	}
	failed := len(s.failed) + len(s.open) + wrong
	for _, p := range s.failedPackage { // outside of its tests: to build, in TestMain
		if !slices.ContainsFunc(s.failed, func(o outcome) bool { return o.pkg == p.pkg }) {
			failed++
		}
	}
	if len(s.packages) == 0 && failed == 0 {
		fmt.Fprintln(w, "FAIL no tests ran")
		failed++
	}
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", s.passed, failed, len(s.skipped)-wrong)
	return failed == 0
}
