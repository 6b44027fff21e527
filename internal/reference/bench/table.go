package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// row is one thing that was measured; rootctl is the first of its results.
type row struct {
	what    string
	results []result
}

type result struct {
	name     string
	times    []time.Duration
	memoryKB int64
}

func (r result) median() time.Duration {
	t := slices.Sorted(slices.Values(r.times))
	if len(t) == 0 {
		return 0
	}
	if len(t)%2 == 0 {
		return (t[len(t)/2-1] + t[len(t)/2]) / 2
	}
	return t[len(t)/2]
}

const (
	begin = "<!-- bench: begin -->"
	end   = "<!-- bench: end -->"
)

// render gives the Markdown table: medians, and in brackets the fastest and the slowest.
func render(rows []row, machine, command string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s, %s. `%s`\n\n", begin, time.Now().UTC().Format(time.DateOnly), machine, command)
	b.WriteString("| what | tool | median | fastest - slowest | rounds | beside rootctl | peak memory |\n|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		for i, c := range r.results {
			if len(c.times) == 0 {
				continue
			}
			what, beside, memory := r.what, "", ""
			if i > 0 {
				what = ""
				beside = fmt.Sprintf("%.2f times", float64(c.median())/float64(r.results[0].median()))
			}
			if c.memoryKB > 0 {
				memory = fmt.Sprintf("%d MB", (c.memoryKB+1023)/1024)
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s - %s | %d | %s | %s |\n", what, c.name, span(c.median()),
				span(slices.Min(c.times)), span(slices.Max(c.times)), len(c.times), beside, memory)
		}
	}
	b.WriteString(end + "\n")
	return b.String()
}

func span(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1000)
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// machine describes where this ran, without naming the host.
func machine(work string) string {
	model := runtime.GOARCH
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.SplitSeq(string(text), "\n") {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	var u unix.Utsname
	kernel := "unknown"
	if unix.Uname(&u) == nil {
		kernel = unix.ByteSliceToString(u.Release[:])
	}
	fsName := "an unknown file system"
	var st unix.Statfs_t
	if unix.Statfs(work, &st) == nil {
		names := map[int64]string{unix.EXT4_SUPER_MAGIC: "ext4", unix.TMPFS_MAGIC: "tmpfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.XFS_SUPER_MAGIC: "xfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay"}
		if n, ok := names[int64(st.Type)]; ok { //nolint:unconvert // differs by architecture
			fsName = n
		}
	}
	return fmt.Sprintf("%d x %s, Linux %s, %s, %s", runtime.NumCPU(), model, kernel, fsName, runtime.Version())
}

// replaceTable puts the table between the markers of the page, or at its end; a missing page is made.
func replaceTable(page, table string) error {
	text, err := os.ReadFile(page)
	if os.IsNotExist(err) {
		text, err = []byte("# Performance\n\n"), os.MkdirAll(filepath.Dir(page), 0o755)
	}
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(text), begin)
	after := ""
	if found {
		_, after, found = strings.Cut(rest, end+"\n")
		if !found {
			return fmt.Errorf("%s: %s without %s", page, begin, end)
		}
	}
	return os.WriteFile(page, []byte(before+table+after), 0o644)
}
