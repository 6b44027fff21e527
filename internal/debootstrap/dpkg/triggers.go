package dpkg

import (
	"strings"
)

// triggers adds the interests of pkgs to triggers/ and their activations to
// Unincorp, from which the next dpkg run takes them. pkgs are sorted.
func (d *Database) triggers(pkgs []*Package) error {
	var interests strings.Builder
	old, err := d.read("triggers/File")
	if err != nil {
		return err
	}
	interests.WriteString(old)
	explicit := newMulti()
	var pending multi = newMulti()
	if err := d.loadUnincorp(pending); err != nil {
		return err
	}
	for _, p := range pkgs {
		for _, t := range p.Triggers {
			who := p.base()
			if t.NoAwait {
				who += "/noawait"
			}
			switch {
			case !t.Interest && t.NoAwait:
				pending.add(t.Name, "-")
			case !t.Interest:
				pending.add(t.Name, p.Name)
			case t.Name[0] == '/':
				interests.WriteString(t.Name + " " + who + "\n")
			default:
				explicit.add(t.Name, who)
			}
		}
	}
	if interests.Len() > 0 {
		if err := d.write("triggers/File", interests.String(), 0o644); err != nil {
			return err
		}
	}
	for _, name := range *explicit.keys {
		old, err := d.read("triggers/" + name)
		if err != nil {
			return err
		}
		if err := d.write("triggers/"+name, old+lines(explicit.values[name]), 0o644); err != nil {
			return err
		}
	}
	fileTriggers(interests.String(), pkgs, pending)
	return d.write("triggers/Unincorp", unincorp(pending), 0o644)
}

// fileTriggers notes the file triggers that the files of pkgs activate.
func fileTriggers(interests string, pkgs []*Package, pending multi) {
	wanted := map[string][]*Package{}
	for l := range strings.Lines(interests) {
		if path, _, ok := strings.Cut(l, " "); ok {
			wanted[path] = nil
		}
	}
	if len(wanted) == 0 {
		return
	}
	for _, p := range pkgs {
		hit := map[string]bool{}
		for _, file := range p.List {
			for dir := file; dir != ""; dir = dir[:strings.LastIndexByte(dir, '/')] {
				if _, ok := wanted[dir]; ok && !hit[dir] {
					hit[dir] = true
					wanted[dir] = append(wanted[dir], p)
				}
			}
		}
	}
	for l := range strings.Lines(interests) {
		f := strings.Fields(l)
		if len(f) != 2 {
			continue
		}
		for _, p := range wanted[f[0]] {
			if strings.HasSuffix(f[1], "/noawait") {
				pending.add(f[0], "-")
			} else {
				pending.add(f[0], p.Name)
			}
		}
	}
}

func (d *Database) loadUnincorp(m multi) error {
	old, err := d.read("triggers/Unincorp")
	if err != nil {
		return err
	}
	for l := range strings.Lines(old) {
		f := strings.Fields(l)
		for i, who := range f {
			if i > 0 {
				m.add(f[0], who)
			}
		}
	}
	return nil
}

// unincorp is the file's form: the packages that await a trigger, or "-" if it
// is activated and none does.
func unincorp(m multi) string {
	var b strings.Builder
	for _, name := range *m.keys {
		b.WriteString(name)
		awaited := false
		for _, who := range m.values[name] {
			if who != "-" {
				b.WriteString(" " + who)
				awaited = true
			}
		}
		if !awaited {
			b.WriteString(" -")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// multi is an ordered map of ordered sets.
type multi struct {
	keys   *[]string
	values map[string][]string
	seen   map[[2]string]bool
}

func newMulti() multi {
	return multi{new([]string), map[string][]string{}, map[[2]string]bool{}}
}

func (m multi) add(key, value string) {
	if m.seen[[2]string{key, value}] {
		return
	}
	m.seen[[2]string{key, value}] = true
	if _, ok := m.values[key]; !ok {
		*m.keys = append(*m.keys, key)
	}
	m.values[key] = append(m.values[key], value)
}
