package recipe

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode"

	"github.com/rootctl/rootctl/suites"
)

// readFile reads a file beside the recipe.
type readFile func(name string, limit int64) ([]byte, error)

// parser turns tables into what they mean.
type parser struct {
	path   string
	places places
	read   readFile
}

func parse(path string, text []byte, read readFile) (*Recipe, error) {
	f, found, err := decode(path, text)
	if err != nil {
		return nil, err
	}
	p := &parser{path, found, read}
	if len(f.Root) == 0 {
		return nil, &Error{File: path, What: "there is no root in it", Next: "a root is a table: [root.NAME] with suite = \"bionic\""}
	}
	if len(f.Root) > maxRoots {
		return nil, &Error{File: path, What: fmt.Sprintf("%d roots, at most %d are read", len(f.Root), maxRoots)}
	}
	r := &Recipe{Path: path}
	names := slices.Collect(maps.Keys(f.Root))
	sort.Slice(names, func(i, j int) bool {
		a, b := p.places.at("root."+names[i]), p.places.at("root."+names[j])
		return a.line < b.line || a.line == b.line && (a.column < b.column || a.column == b.column && names[i] < names[j])
	})
	for _, name := range names {
		if err := p.lists(name, f.Root[name]); err != nil {
			return nil, err
		}
		root, err := p.root(name, f.Root[name])
		if err != nil {
			return nil, err
		}
		r.Roots = append(r.Roots, *root)
	}
	return r, p.arrange(r)
}

func (p *parser) fail(key, format string, args ...any) *Error {
	at := p.places.at(key)
	return &Error{File: p.path, Line: at.line, Col: at.column, Key: key, What: fmt.Sprintf(format, args...)}
}

func (e *Error) or(next string) *Error {
	e.Next = next
	return e
}

func (p *parser) root(name string, t rootTable) (*Root, error) {
	at := "root." + name
	r := &Root{Name: name, Tag: t.Tag, Suite: t.Suite, Variant: t.Variant, Arch: t.Arch, Extends: t.Extends, Include: t.Include, Exclude: t.Exclude,
		Pockets: t.Pockets, Comps: t.Components, Network: t.Network, CacheSalt: t.CacheSalt, file: p.path, places: p.places}
	if r.Tag == "" {
		r.Tag = name
	}
	for _, list := range []struct {
		key   string
		words []string
	}{{"include", t.Include}, {"exclude", t.Exclude}, {"pockets", t.Pockets}, {"components", t.Components}} {
		if err := p.words(at+"."+list.key, list.words); err != nil {
			return nil, err
		}
	}
	switch {
	case !isName(name):
		return nil, p.fail(at, "%q is no name for a root", name).or("letters, digits and ._+-")
	case t.Suite == "" && t.Extends == "":
		return nil, p.fail(at, "it has no suite").or(`suite = "bionic", or extends = "NAME of another root here"`)
	case t.Network != "" && !isNetwork(t.Network):
		return nil, p.fail(at+".network", "unknown network %q", t.Network).or("none, nat or host")
	case len(t.CacheSalt) > 200 || !printable(t.CacheSalt):
		return nil, p.fail(at+".cache-salt", "want one line of at most 200 bytes")
	}
	if t.Extends != "" {
		for _, own := range []struct {
			key string
			set bool
		}{{"suite", t.Suite != ""}, {"variant", t.Variant != ""}, {"arch", t.Arch != ""}, {"exclude", len(t.Exclude) > 0},
			{"pockets", len(t.Pockets) > 0}, {"components", len(t.Components) > 0}} {
			if own.set {
				return nil, p.fail(at+"."+own.key, "a root that extends another has this from it").or("leave it out, or say it in [root." + t.Extends + "]")
			}
		}
	}
	var left int64 = maxContent
	for _, f := range []func(*Root, string, rootTable, *int64) error{p.files, p.hooks, p.sources} {
		if err := f(r, at, t, &left); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// lists refuses one table where several are meant: the decoder takes it for a list of one.
func (p *parser) lists(name string, t rootTable) error {
	for key, n := range map[string]int{"files": len(t.Files), "hooks": len(t.Hooks), "sources": len(t.Sources)} {
		path := "root." + name + "." + key
		if _, list := p.places[path+"[0]"]; n > 0 && !list {
			return p.fail(path, "it is one table, and a list of tables is meant").or("two pairs of brackets: [[" + path + "]]")
		}
	}
	return nil
}

func (p *parser) words(key string, list []string) error {
	if len(list) > maxList {
		return p.fail(key, "%d entries, at most %d are read", len(list), maxList)
	}
	for i, w := range list {
		if w == "" || len(w) > 200 || strings.IndexFunc(w, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0 {
			return p.fail(fmt.Sprintf("%s[%d]", key, i), "%q is no name", w)
		}
	}
	return nil
}

// files reads what is added to a root, sorted by path: the order in the recipe has no meaning.
func (p *parser) files(r *Root, at string, t rootTable, left *int64) error {
	seen := map[string]bool{}
	for i, f := range t.Files {
		key := fmt.Sprintf("%s.files[%d]", at, i)
		if why := placeInside(f.Path); why != "" {
			return p.fail(key+".path", "%q: %s", f.Path, why).or("an absolute path inside, such as /etc/motd")
		}
		if seen[f.Path] {
			return p.fail(key+".path", "%s is added twice", f.Path)
		}
		seen[f.Path] = true
		added := File{Path: f.Path, Mode: 0o644, Owner: "0:0"}
		if f.Mode != "" {
			n, err := strconv.ParseUint(f.Mode, 8, 32)
			if err != nil || n > 0o7777 || len(f.Mode) < 3 {
				return p.fail(key+".mode", "%q is no mode", f.Mode).or(`mode = "0644"`)
			}
			added.Mode = uint32(n)
		}
		if f.Owner != "" {
			user, group, two := strings.Cut(f.Owner, ":")
			if !two {
				group = user
			}
			if !isOwner(user) || !isOwner(group) {
				return p.fail(key+".owner", "%q is no owner", f.Owner).or(`owner = "USER:GROUP", each a name in the root or a number`)
			}
			added.Owner = byNumber(user) + ":" + byNumber(group)
		}
		if (f.Content != nil) == (f.File != "") {
			return p.fail(key, "want either content or file").or(`content = "text", or file = "a file beside the recipe"`)
		}
		if f.Content != nil {
			added.Content = []byte(*f.Content)
		}
		if f.File != "" {
			var err error
			if added.Content, err = p.beside(key+".file", f.File); err != nil {
				return err
			}
		}
		if *left -= int64(len(added.Content)); *left < 0 {
			return p.fail(key, "the files and scripts of a root are larger than %d bytes", maxContent).or("large things belong into a package or are fetched by a hook")
		}
		r.Files = append(r.Files, added)
	}
	sort.Slice(r.Files, func(i, j int) bool { return r.Files[i].Path < r.Files[j].Path })
	return nil
}

func (p *parser) hooks(r *Root, at string, t rootTable, left *int64) error {
	for i, h := range t.Hooks {
		key := fmt.Sprintf("%s.hooks[%d]", at, i)
		hook := Hook{When: h.When, Network: h.Network, Name: fmt.Sprintf("%s.hooks[%d]", r.Name, i)}
		if hook.Network == "" {
			hook.Network = "none"
		}
		switch {
		case h.When != Setup && h.When != Essential && h.When != Customize:
			return p.fail(key+".when", "unknown moment %q", h.When).or(nearOr(h.When, []string{Setup, Essential, Customize}, "it is setup, essential or customize"))
		case !isNetwork(hook.Network):
			return p.fail(key+".network", "unknown network %q", h.Network).or("none, nat or host")
		case h.When == Essential && r.Extends != "":
			return p.fail(key+".when", "its required packages are configured in the root that it extends").or("setup or customize, or a hook of [root." + r.Extends + "]")
		case (h.Run != "") == (h.File != ""):
			return p.fail(key, "want either run or file").or(`run = "commands", or file = "a script beside the recipe"`)
		case len(h.Env) > maxList:
			return p.fail(key+".env", "%d variables, at most %d are read", len(h.Env), maxList)
		}
		hook.Script = []byte(h.Run)
		if h.File != "" {
			hook.Name = h.File
			var err error
			if hook.Script, err = p.beside(key+".file", h.File); err != nil {
				return err
			}
		}
		if !bytes.HasPrefix(hook.Script, []byte("#!")) && !bytes.HasPrefix(hook.Script, []byte("\x7fELF")) {
			hook.Script = append([]byte("#!/bin/sh -e\n"), hook.Script...)
		}
		for _, name := range slices.Sorted(maps.Keys(h.Env)) {
			if !isVariable(name) || strings.ContainsRune(h.Env[name], 0) {
				return p.fail(key+".env."+name, "not a variable")
			}
			hook.Env = append(hook.Env, name+"="+h.Env[name])
		}
		if *left -= int64(len(hook.Script)); *left < 0 {
			return p.fail(key, "the files and scripts of a root are larger than %d bytes", maxContent)
		}
		r.Hooks = append(r.Hooks, hook)
	}
	return nil
}

// byNumber is root's id for root, which every root has: the two are one key.
func byNumber(name string) string {
	if name == "root" {
		return "0"
	}
	return name
}

// beside reads a file in the recipe's folder.
func (p *parser) beside(key, name string) ([]byte, error) {
	if !printable(name) { // it will stand in messages
		return nil, p.fail(key, "%q: a name with control characters", name).or("give the file another name")
	}
	if what, next := checkBeside(name); what != "" {
		return nil, p.fail(key, "%s", what).or(next)
	}
	b, err := p.read(name, maxFile)
	var why *fs.PathError
	if errors.As(err, &why) {
		next := "the path starts at the recipe's folder"
		if strings.Contains(why.Err.Error(), "escapes") {
			next = "it is a link that leads out of the recipe's folder: copy the file there"
		}
		return nil, p.fail(key, "%s: %s", name, why.Err).or(next)
	}
	if err != nil {
		return nil, p.fail(key, "%s", err)
	}
	return b, nil
}

// placeInside says why a file cannot be added at a path, "" if it can.
func placeInside(name string) string {
	if !strings.HasPrefix(name, "/") || len(name) < 2 || len(name) > 1000 || path.Clean(name) != name || !printable(name) {
		return "no absolute path in its shortest form"
	}
	if name == "/etc/machine-id" || name == "/var/lib/dbus/machine-id" {
		return "each machine makes its own, so a root has none"
	}
	for _, dir := range []string{"/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp", "/var/run", "/var/lib/apt/lists"} {
		if name == dir || strings.HasPrefix(name, dir+"/") {
			return "what lies in " + dir + " is no part of a root"
		}
	}
	return ""
}

func printable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

func only(s, set string) bool { return s != "" && len(s) <= 100 && strings.Trim(s, set) == "" }

const (
	lower  = "abcdefghijklmnopqrstuvwxyz0123456789"
	either = lower + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

func isName(s string) bool  { return only(s, either+"._+-") && strings.Trim(s[:1], either) == "" }
func isLower(s string) bool { return only(s, lower+"-") && s[0] != '-' }
func isOwner(s string) bool { return only(s, either+"_-.") && s[0] != '-' }
func isSuite(s string) bool {
	return only(s, either+"._+/-") && !strings.Contains(s, "..") && path.Clean(s) == s && s[0] != '/'
}
func isVariable(s string) bool { return only(s, either+"_") && strings.Trim(s[:1], "0123456789") != "" }
func isNetwork(s string) bool  { return s == "none" || s == "nat" || s == "host" }

// arrange puts each root behind the one that it extends.
func (p *parser) arrange(r *Recipe) error {
	var out []Root
	done, tags := map[string]bool{}, map[string]string{}
	for _, x := range r.Roots {
		if other, taken := tags[x.Tag]; taken {
			return p.fail("root."+x.Name+".tag", "%s is the name of [root.%s], too", x.Tag, other)
		}
		if x.Tag != x.Name && slices.ContainsFunc(r.Roots, func(y Root) bool { return y.Name == x.Tag }) {
			return p.fail("root."+x.Name+".tag", "%s is the name of [root.%s]", x.Tag, x.Tag)
		}
		tags[x.Tag] = x.Name
	}
	for len(out) < len(r.Roots) {
		before := len(out)
		for _, x := range r.Roots {
			if !done[x.Name] && (x.Extends == "" || done[x.Extends]) {
				out, done[x.Name] = append(out, x), true
			}
		}
		if len(out) > before {
			continue
		}
		for _, x := range r.Roots {
			if done[x.Name] {
				continue
			}
			if !slices.ContainsFunc(r.Roots, func(y Root) bool { return y.Name == x.Extends }) {
				return p.fail("root."+x.Name+".extends", "there is no [root.%s] here", x.Extends).or(nearOr(x.Extends, others(r, x.Name), "it names another root of this file"))
			}
		}
		for _, x := range r.Roots {
			if !done[x.Name] {
				return p.fail("root."+x.Name+".extends", "it leads back to itself")
			}
		}
	}
	r.Roots = out
	inherit(out)
	return nil
}

// inherit gives a root that says nothing of run's network that of the one it extends.
func inherit(roots []Root) {
	networks := map[string]string{}
	for i := range roots {
		x := &roots[i]
		if x.Network == "" {
			x.Network = networks[x.Extends]
		}
		networks[x.Name] = x.Network
	}
}

// nearOr asks for what a word may have meant, and says otherwise what is possible.
func nearOr(word string, known []string, otherwise string) string {
	if near := suites.Near(word, known); len(near) > 0 {
		return fmt.Sprintf("did you mean %s?", strings.Join(near, " or "))
	}
	return otherwise
}

// others are the names of the roots beside one.
func others(r *Recipe, name string) []string {
	return slices.DeleteFunc(r.Names(), func(n string) bool { return n == name })
}
