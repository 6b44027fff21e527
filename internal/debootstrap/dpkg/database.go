package dpkg

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/rootctl/rootctl/internal/debootstrap/unpack"
	"golang.org/x/sys/unix"
)

const (
	// AdminDir is where the database lies.
	AdminDir = "/var/lib/dpkg"

	maxFile = 64 << 20 // of any file of the database we read
)

// Dirs are the directories of an empty database.
func Dirs() []string {
	return []string{AdminDir, AdminDir + "/info", AdminDir + "/updates", AdminDir + "/triggers", AdminDir + "/alternatives"}
}

// A Database is dpkg's, in a tree. It is written in rounds: Init, then Add
// after each round of unpacking. Between rounds dpkg itself may run.
type Database struct {
	t    *unpack.Tree
	hash uint32
}

// New returns the database of a tree. hash is the size of the hash table of names in its dpkg.
func New(t *unpack.Tree, hash uint32) *Database { return &Database{t, hash} }

func (d *Database) write(name, data string, mode uint32) error {
	return d.t.WriteFile(AdminDir+"/"+name, []byte(data), unpack.Meta{Mode: mode})
}

// read returns "" for a file that is not there.
func (d *Database) read(name string) (string, error) {
	b, err := d.t.ReadFile(AdminDir+"/"+name, maxFile)
	if errors.Is(err, unix.ENOENT) {
		return "", nil
	}
	return string(b), err
}

// Init writes what an empty database holds. available is the index's paragraphs
// of all packages, in index order; dpkg and dselect show it, and dpkg takes
// priorities from it.
func (d *Database) Init(available []string) error {
	for _, f := range []struct{ name, data string }{
		{"info/format", "1\n"},
		{"status", ""},
		{"available", availableText(available)},
		{"cmethopt", "apt apt\n"},
	} {
		if err := d.write(f.name, f.data, 0o644); err != nil {
			return fmt.Errorf("write dpkg database: %w", err)
		}
	}
	return nil
}

// SetAvailable writes the index's paragraphs anew, of all packages.
func (d *Database) SetAvailable(available []string) error {
	if err := d.write("available", availableText(available), 0o644); err != nil {
		return fmt.Errorf("write dpkg database: %w", err)
	}
	return nil
}

func availableText(available []string) string {
	var b strings.Builder
	for _, s := range available {
		b.WriteString(strings.Trim(s, "\n"))
		b.WriteString("\n\n")
	}
	return b.String()
}

// Add records packages that have been unpacked, as "install ok unpacked", and
// the triggers that dpkg would have noted on the way.
func (d *Database) Add(pkgs []*Package, lost []unpack.Lost) error {
	pkgs = append([]*Package(nil), pkgs...)
	sort.Slice(pkgs, func(i, j int) bool { return pkgs[i].Name < pkgs[j].Name })
	status, err := d.read("status")
	if err != nil {
		return fmt.Errorf("write dpkg database: %w", err)
	}
	var paragraphs []string
	for p := range strings.SplitSeq(status, "\n\n") {
		if p != "" {
			paragraphs = append(paragraphs, strings.TrimSuffix(p, "\n")+"\n")
		}
	}
	for _, p := range pkgs {
		if err := d.info(p); err != nil {
			return fmt.Errorf("write dpkg database: %s: %w", p.Name, err)
		}
	}
	paragraphs = d.unpacked(paragraphs, pkgs)
	if err := d.disown(lost); err != nil {
		return fmt.Errorf("write dpkg database: %w", err)
	}
	if err := d.write("status", strings.Join(paragraphs, "\n")+"\n", 0o644); err != nil {
		return fmt.Errorf("write dpkg database: %w", err)
	}
	if err := d.triggers(pkgs); err != nil {
		return fmt.Errorf("write dpkg database: triggers: %w", err)
	}
	return nil
}

// unpacked appends the paragraphs of packages to those of the status file. Once base packages are among
// them, they get the order in which dpkg --unpack leaves them.
func (d *Database) unpacked(paragraphs []string, pkgs []*Package) []string {
	base := false
	for _, required := range []bool{true, false} {
		for _, p := range pkgs {
			if p.Required == required {
				paragraphs = append(paragraphs, p.status())
				base = !required
			}
		}
	}
	if base {
		dpkgOrder(paragraphs, d.hash)
	}
	return paragraphs
}

// info writes the files of info/.
func (d *Database) info(p *Package) error {
	base := "info/" + p.base() + "."
	if err := d.write(base+"list", lines(p.List), 0o644); err != nil {
		return err
	}
	sums := false
	for _, m := range p.Members {
		if m.Name == "control" {
			continue
		}
		sums = sums || m.Name == "md5sums"
		if err := d.t.WriteFile(AdminDir+"/"+base+m.Name, m.Data, unpack.Meta{Mode: m.Mode & 0o777}); err != nil {
			return err
		}
	}
	if sums {
		return nil
	}
	var b strings.Builder
	for _, h := range p.Sums {
		b.WriteString(h.MD5 + "  " + h.Path[1:] + "\n")
	}
	return d.write(base+"md5sums", b.String(), 0o644)
}

func lines(all []string) string {
	var b strings.Builder
	for _, l := range all {
		b.WriteString(l)
		b.WriteByte('\n')
	}
	return b.String()
}

// disown takes paths that went over to another package out of the .list they
// were in. Those of packages of this round are not in theirs yet when the
// package yielded itself.
func (d *Database) disown(lost []unpack.Lost) error {
	gone := map[string]map[string]bool{}
	for _, l := range lost {
		if gone[l.Package] == nil {
			gone[l.Package] = map[string]bool{}
		}
		gone[l.Package][l.Path] = true
	}
	for pkg, paths := range gone {
		name, err := d.listName(pkg)
		if err != nil {
			return err
		}
		old, err := d.read(name)
		if err != nil {
			return err
		}
		var keep []string
		for l := range strings.Lines(old) {
			if l = strings.TrimSuffix(l, "\n"); !paths[l] {
				keep = append(keep, l)
			}
		}
		if err := d.write(name, lines(keep), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (d *Database) listName(pkg string) (string, error) {
	if name := "info/" + pkg + ".list"; d.t.Exists(AdminDir + "/" + name) {
		return name, nil
	}
	infos, err := d.t.ReadDir(AdminDir + "/info")
	if err != nil {
		return "", err
	}
	for _, e := range infos {
		if strings.HasPrefix(e.Name, pkg+":") && strings.HasSuffix(e.Name, ".list") {
			return "info/" + e.Name, nil
		}
	}
	return "", fmt.Errorf("%s has no list", pkg)
}
