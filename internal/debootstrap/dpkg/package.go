// Package dpkg writes the database dpkg finds in a new root, so that its
// "dpkg --configure" takes over where an unpack by dpkg itself would have left
// off, and reads back what became of it.
//
// The formats are dpkg's own (deb-control(5), deb-conffiles(5),
// deb-triggers(5), dpkg's lib/dpkg and doc/triggers.txt); nothing of them has
// changed in a way that matters here from 1.17 to 1.23.
package dpkg

import (
	"fmt"
	"strings"

	"github.com/rootctl/rootctl/internal/debootstrap/control"
	"github.com/rootctl/rootctl/internal/debootstrap/deb"
	"github.com/rootctl/rootctl/internal/debootstrap/unpack"
)

// Package is one package as the database is to know it.
type Package struct {
	Name, Arch string
	Paragraph  string // of control, as the package has it
	Members    []deb.Member
	Conffiles  []Conffile
	Triggers   []Trigger
	Same       bool // Multi-Arch: same

	// Required packages' conffiles are in place already; the others' wait at
	// PATH.dpkg-new for dpkg --configure.
	Required bool
	// Priority and Section of the index override the package's own, where set.
	Priority, Section string

	// What the unpacking found.
	List []string      // lines of the .list
	Sums []unpack.Hash // conffiles', or all files' if the package has no md5sums
}

// Conffile is a line of conffiles.
type Conffile struct {
	Path            string
	RemoveOnUpgrade bool // the path is no longer shipped
}

// Trigger is a line of triggers.
type Trigger struct {
	Interest bool // else activate
	NoAwait  bool
	Name     string // an absolute path: a file trigger
}

// Read makes a Package of a control member.
func Read(c *deb.Control) (*Package, error) {
	p := &Package{
		Name:      control.Field(c.Paragraph, "Package"),
		Arch:      control.Field(c.Paragraph, "Architecture"),
		Paragraph: c.Paragraph,
		Same:      control.Field(c.Paragraph, "Multi-Arch") == "same",
		Members:   c.Members,
	}
	for _, m := range c.Members {
		if err := checkMember(m.Name); err != nil {
			return nil, fmt.Errorf("control of %s: %w", p.Name, err)
		}
		var err error
		switch m.Name {
		case "conffiles":
			p.Conffiles, err = parseConffiles(string(m.Data))
		case "triggers":
			p.Triggers, err = parseTriggers(string(m.Data))
		}
		if err != nil {
			return nil, fmt.Errorf("control of %s: %s: %w", p.Name, m.Name, err)
		}
	}
	return p, nil
}

// checkMember refuses names that would not be PACKAGE.NAME in info/, or that
// are dpkg's own there.
func checkMember(name string) error {
	if name == "" || name == "list" || len(name) > 50 { // dpkg's MAXCONTROLFILENAME
		return fmt.Errorf("member %q is not allowed", name)
	}
	for i := range len(name) {
		c := name[i]
		if c <= ' ' || c == '/' || c >= 0x7f || c == '.' && i == 0 {
			return fmt.Errorf("member %q is not allowed", name)
		}
	}
	return nil
}

// Member returns a control file's content.
func (p *Package) Member(name string) ([]byte, bool) {
	for _, m := range p.Members {
		if m.Name == name {
			return m.Data, true
		}
	}
	return nil, false
}

// base is the package's name in info/ and triggers/.
func (p *Package) base() string {
	if p.Same {
		return p.Name + ":" + p.Arch
	}
	return p.Name
}

func parseConffiles(s string) ([]Conffile, error) {
	var all []Conffile
	for line := range strings.Lines(s) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		var c Conffile
		if flag, rest, ok := strings.Cut(line, " "); ok && !strings.HasPrefix(line, "/") {
			if flag != "remove-on-upgrade" {
				return nil, fmt.Errorf("unknown flag in %q", line)
			}
			c.RemoveOnUpgrade = true
			line = strings.TrimSpace(rest)
		}
		if !strings.HasPrefix(line, "/") || strings.Contains(line+"/", "/../") {
			return nil, fmt.Errorf("conffile %q is not an absolute path", line)
		}
		c.Path = line
		all = append(all, c)
	}
	return all, nil
}

func parseTriggers(s string) ([]Trigger, error) {
	var all []Trigger
	for line := range strings.Lines(s) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) != 2 {
			return nil, fmt.Errorf("line %q is not a directive and a name", strings.TrimSpace(line))
		}
		var t Trigger
		switch f[0] {
		case "interest", "interest-await":
			t.Interest = true
		case "interest-noawait":
			t.Interest, t.NoAwait = true, true
		case "activate", "activate-await":
		case "activate-noawait":
			t.NoAwait = true
		default:
			return nil, fmt.Errorf("unknown directive %q", f[0])
		}
		t.Name = f[1]
		if !legalTrigger(t.Name) {
			return nil, fmt.Errorf("trigger name %q is not allowed", t.Name)
		}
		all = append(all, t)
	}
	return all, nil
}

// legalTrigger is dpkg's rule (printable ASCII), and for names that are not
// paths, which name a file in triggers/, that they stay there.
func legalTrigger(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	switch {
	case s[0] == '/':
		return true
	case s == "File", s == "Unincorp", s == "Lock", s[0] == '.', len(s) > 200:
		return false
	}
	return !strings.Contains(s, "/")
}

// status is the package's paragraph of the status file, without the empty line
// after it.
func (p *Package) status() string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimRight(p.Paragraph, "\n")) {
		line = strings.TrimSuffix(line, "\n")
		name, _, _ := strings.Cut(line, ":")
		switch {
		case strings.EqualFold(name, "Priority") && p.Priority != "":
			line = "Priority: " + p.Priority
		case strings.EqualFold(name, "Section") && p.Section != "":
			line = "Section: " + p.Section
		}
		b.WriteString(line)
		b.WriteByte('\n')
		if strings.EqualFold(name, "Package") {
			b.WriteString("Status: install ok unpacked\n")
		}
	}
	if len(p.Conffiles) > 0 {
		b.WriteString("Conffiles:\n")
		sums := make(map[string]string, len(p.Sums))
		for _, h := range p.Sums {
			sums[h.Path] = h.MD5
		}
		for _, c := range p.Conffiles {
			b.WriteString(" " + c.Path + " ")
			switch sum, ok := sums[c.Path]; {
			case c.RemoveOnUpgrade:
				b.WriteString("newconffile remove-on-upgrade\n")
			case ok && p.Required:
				b.WriteString(sum + "\n")
			default:
				b.WriteString("newconffile\n")
			}
		}
	}
	return b.String()
}
