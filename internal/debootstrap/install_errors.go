package debootstrap

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ConfigureError is a package that could not be configured.
type ConfigureError struct {
	Package   string   // "" if not known
	Script    string   // "preinst", "postinst", ...; "" if dpkg itself refused
	Status    int      // the script's exit status, 128+n for signal n; 0 if there is none
	LastLines []string // the end of the output, oldest first
	LogPath   string   // the whole output, if it is kept
}

func (e *ConfigureError) Error() string {
	var b strings.Builder
	b.WriteString("configure")
	if e.Package != "" {
		b.WriteString(" " + e.Package)
	}
	switch {
	case e.Script != "" && e.Status > 128:
		fmt.Fprintf(&b, ": %s ended by signal %d", e.Script, e.Status-128)
	case e.Script != "":
		fmt.Fprintf(&b, ": %s ended with exit status %d", e.Script, e.Status)
	case e.Status != 0:
		fmt.Fprintf(&b, ": dpkg ended with exit status %d", e.Status)
	default:
		b.WriteString(": dpkg did not finish it")
	}
	return b.String()
}

// CauseFull is the Cause of a script that found no room.
const CauseFull = "the disk is full"

// Cause is a likely reason that lies outside the package, or "".
func (e *ConfigureError) Cause() string {
	known := [][2]string{
		{"No space left on device", CauseFull},
		{"Disk quota exceeded", "the disk quota is used up"},
		{"Cannot allocate memory", "memory ran out"},
		{"Too many open files", "too many files are open"},
		{"Exec format error", "the programs of this architecture do not run on this machine"},
		{"Read-only file system", "a file system is mounted read-only"},
	}
	for i := len(e.LastLines) - 1; i >= 0; i-- {
		for _, k := range known {
			if strings.Contains(e.LastLines[i], k[0]) {
				return k[1]
			}
		}
	}
	if e.Status == 128+9 {
		return "it was killed from outside, perhaps because memory ran out"
	}
	return ""
}

// Hint is the next step for causes that have one; what else a script failed of, its last words must tell.
func (e *ConfigureError) Hint() string {
	switch e.Cause() {
	case "the disk is full", "the disk quota is used up":
		return "free some space, or put the cache elsewhere with --cache DIR or ROOTCTL_CACHE"
	case "memory ran out":
		return "free some memory, and try again"
	case "too many files are open":
		return "raise the limit on open files, e.g. ulimit -n 4096"
	}
	return ""
}

const (
	tailLines = 20
	tailBytes = 64 << 10 // of one line, and so of what is kept
)

// tail passes output on and remembers its last lines.
type tail struct {
	to   io.Writer
	line func(string) // told each whole line; may be nil
	part []byte
	last []string
}

func newTail(to io.Writer, line func(string)) *tail { return &tail{to: to, line: line} }

func (t *tail) Write(b []byte) (int, error) {
	if n, err := t.to.Write(b); err != nil {
		return n, err
	}
	for rest := b; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			t.part = append(t.part, rest[:min(len(rest), max(0, tailBytes-len(t.part)))]...)
			break
		}
		t.part = append(t.part, rest[:min(i, max(0, tailBytes-len(t.part)))]...)
		t.flush()
		rest = rest[i+1:]
	}
	return len(b), nil
}

func (t *tail) flush() {
	s := strings.TrimRight(strings.ToValidUTF8(string(t.part), "?"), "\r")
	t.part = t.part[:0]
	if t.line != nil {
		t.line(s)
	}
	if strings.TrimSpace(s) == "" {
		return
	}
	if len(t.last) == tailLines {
		t.last = t.last[1:]
	}
	t.last = append(t.last, s)
}

func (t *tail) lines() []string {
	if len(t.part) > 0 {
		t.flush()
	}
	return t.last
}

// settingUpName is the package of "Setting up apt (1.6.1) ..." and, of Multi-Arch
// ones, "Setting up libc6:amd64 (2.27-3) ...".
func settingUpName(line string) (string, bool) {
	rest, ok := strings.CutPrefix(line, "Setting up ")
	if !ok {
		return "", false
	}
	name, _, _ := strings.Cut(rest, " ")
	name, _, _ = strings.Cut(name, ":")
	return name, true
}

// dpkgFailure reads dpkg's account of what went wrong:
//
//	dpkg: error processing package NAME (--configure):
//	 installed NAME package post-installation script subprocess returned error exit status N
//
// (up to 1.18: "subprocess installed post-installation script returned error
// exit status N"; "was killed by signal (Text)[, core dumped]" for signals).
func dpkgFailure(status int, last []string) *ConfigureError {
	e := &ConfigureError{Status: status, LastLines: last}
	for i, l := range last {
		rest, ok := strings.CutPrefix(l, "dpkg: error processing package ")
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(rest, " ")
		e.Package, _, _ = strings.Cut(name, ":")
		if i+1 < len(last) {
			e.script(last[i+1])
		}
		break
	}
	return e
}

func (e *ConfigureError) script(line string) {
	for _, s := range [][2]string{
		{"post-installation script", "postinst"}, {"pre-installation script", "preinst"},
		{"pre-removal script", "prerm"}, {"post-removal script", "postrm"},
	} {
		if strings.Contains(line, s[0]) {
			e.Script = s[1]
		}
	}
	if e.Script == "" {
		return
	}
	if i := strings.LastIndex(line, "exit status "); i >= 0 {
		if n, err := strconv.Atoi(strings.TrimSpace(line[i+len("exit status "):])); err == nil {
			e.Status = n
		}
	}
}
