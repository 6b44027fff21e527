package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// junitText is a report with the elements of JUnit's that all readers know: a case for each root, an error where there is
// none. It is written by hand: encoding/xml would cost every run a tenth of what all packages do before main begins.
func junitText(results []eachResult, argv []string) string {
	var cases strings.Builder
	var failures, errs, skipped int
	var total float64
	began := ""
	for i := range results {
		r := &results[i]
		fmt.Fprintf(&cases, "    <testcase name=\"%s\" classname=\"rootctl.each\" time=\"%.3f\">\n", xmlText(r.Name), r.Seconds)
		switch {
		case r.Error != "":
			errs++
			fmt.Fprintf(&cases, "      <error message=\"%s\" type=\"root\"></error>\n", xmlText(clipped(r.Error)))
		case !r.Started:
			skipped++
			cases.WriteString("      <skipped message=\"interrupted before it was started\"></skipped>\n")
		case r.Exit != 0:
			failures++
			fmt.Fprintf(&cases, "      <failure message=\"exit code %d\" type=\"exit\"></failure>\n", r.Exit)
		}
		if out := r.tail.String(); out != "" {
			fmt.Fprintf(&cases, "      <system-out>%s</system-out>\n", xmlText(out))
		}
		cases.WriteString("    </testcase>\n")
		total += r.Seconds
		if began == "" && !r.began.IsZero() {
			began = fmt.Sprintf(" timestamp=\"%s\"", r.began.UTC().Format("2006-01-02T15:04:05"))
		}
	}
	counts := fmt.Sprintf("tests=\"%d\" failures=\"%d\" errors=\"%d\" skipped=\"%d\" time=\"%.3f\"", len(results), failures, errs, skipped, total)
	return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites " + counts + ">\n  <testsuite name=\"rootctl each\" " + counts + began + ">\n" +
		"    <properties>\n      <property name=\"command\" value=\"" + xmlText(clipped(strings.Join(argv, " "))) + "\"></property>\n    </properties>\n" +
		cases.String() + "  </testsuite>\n</testsuites>\n"
}

// xmlText escapes s for text and for attributes in double quotes; what XML 1.0 has no character for is replaced.
func xmlText(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "\uFFFE", "\uFFFD", "\uFFFF", "\uFFFD").Replace(printable(s))
}

// clipped bounds an attribute.
func clipped(s string) string {
	const most = 2000
	s = strings.ReplaceAll(s, "\n", " ")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

// junitFile is a report on its way, nil if none is wanted.
type junitFile struct{ *output }

// createJUnit opens the file before there is anything to lose.
func (a *app) createJUnit(ctx context.Context, path string) (*junitFile, error) {
	if path == "" {
		return nil, nil
	}
	if path == "-" {
		return nil, withHint(&flagError{errors.New("--junit -: standard output has the commands' output")}, "--junit report.xml")
	}
	o, err := a.createOutput(ctx, path)
	if err != nil {
		return nil, err
	}
	return &junitFile{o}, nil
}

func (f *junitFile) close() {
	if f != nil {
		f.output.close()
	}
}

func (f *junitFile) write(results []eachResult, argv []string) error {
	if f == nil {
		return nil
	}
	if _, err := io.WriteString(f, junitText(results, argv)); err != nil {
		return err
	}
	return f.finish()
}
