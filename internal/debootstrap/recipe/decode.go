package recipe

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/rootctl/rootctl/suites"
)

// file is the TOML form.
type file struct {
	Root map[string]rootTable `toml:"root"`
}

type rootTable struct {
	Suite      string        `toml:"suite"`
	Variant    string        `toml:"variant"`
	Arch       string        `toml:"arch"`
	Extends    string        `toml:"extends"`
	Tag        string        `toml:"tag"`
	Include    []string      `toml:"include"`
	Exclude    []string      `toml:"exclude"`
	Pockets    []string      `toml:"pockets"`
	Components []string      `toml:"components"`
	Network    string        `toml:"network"`
	CacheSalt  string        `toml:"cache-salt"`
	Files      []fileTable   `toml:"files"`
	Hooks      []hookTable   `toml:"hooks"`
	Sources    []sourceTable `toml:"sources"`
}

type fileTable struct {
	Path    string  `toml:"path"`
	Mode    string  `toml:"mode"`
	Owner   string  `toml:"owner"`
	Content *string `toml:"content"`
	File    string  `toml:"file"`
}

type hookTable struct {
	When    string            `toml:"when"`
	Run     string            `toml:"run"`
	File    string            `toml:"file"`
	Env     map[string]string `toml:"env"`
	Network string            `toml:"network"`
}

type sourceTable struct {
	Name       string   `toml:"name"`
	URL        string   `toml:"url"`
	Suite      string   `toml:"suite"`
	Components []string `toml:"components"`
	Packages   []string `toml:"packages"`
	Key        string   `toml:"key"`
}

// keysOf are the keys of a table's form.
func keysOf(v any) (names []string) {
	t := reflect.TypeOf(v)
	for i := range t.NumField() {
		names = append(names, t.Field(i).Tag.Get("toml"))
	}
	return names
}

// knownAt are the keys that may stand where a path of keys leads.
func knownAt(path []string) []string {
	switch {
	case len(path) == 3:
		return keysOf(rootTable{})
	case len(path) == 4 && path[2] == "files":
		return keysOf(fileTable{})
	case len(path) == 4 && path[2] == "hooks":
		return keysOf(hookTable{})
	case len(path) == 4 && path[2] == "sources":
		return keysOf(sourceTable{})
	}
	return nil
}

func decode(path string, text []byte) (*file, places, error) {
	var f file
	err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(&f)
	var strict *toml.StrictMissingError
	var at *toml.DecodeError
	switch {
	case errors.As(err, &strict) && len(strict.Errors) > 0:
		return nil, nil, unknownKey(path, text, &strict.Errors[0])
	case errors.As(err, &at):
		row, column := at.Position()
		return nil, nil, &Error{File: path, Line: row, Col: column, Key: strings.Join(at.Key(), "."), What: tomlText(at)}
	case err != nil:
		return nil, nil, &Error{File: path, What: err.Error()}
	}
	return &f, find(text), nil
}

// unknownKey names what may have been meant.
func unknownKey(path string, text []byte, e *toml.DecodeError) error {
	row, column := e.Position()
	full := strings.Join(e.Key(), ".")
	if found := find(text).named(place{row, column}); found != "" {
		full = found // the decoder leaves out what an inline table lies in
	}
	out := &Error{File: path, Line: row, Col: column, Key: full, What: "unknown key"}
	key := strings.Split(full, ".")
	for i, k := range key {
		key[i], _, _ = strings.Cut(k, "[")
	}
	if key[0] != "root" {
		if near := suites.Near(key[0], keysOf(file{})); len(near) > 0 {
			out.Next = "did you mean root?"
		} else {
			out.Next = fmt.Sprintf("a root is a table [root.NAME]: did you mean [root.%s]?", key[0])
		}
		return out
	}
	known := knownAt(key)
	if near := suites.Near(key[len(key)-1], known); len(near) > 0 {
		out.Next = fmt.Sprintf("did you mean %s?", strings.Join(near, " or "))
	} else if len(known) > 0 {
		out.Next = "known keys: " + strings.Join(known, ", ")
	}
	return out
}

// tomlText puts what the decoder says of a value's type into our words.
func tomlText(e *toml.DecodeError) string {
	text := strings.TrimPrefix(e.Error(), "toml: ")
	switch {
	case strings.Contains(text, "[]string"):
		return `want a list of texts: ["a", "b"]`
	case strings.Contains(text, "into") && strings.Contains(text, "string"):
		return "want a text in quotes"
	case strings.Contains(text, "[]recipe."):
		return "want tables: [[" + strings.Join(e.Key(), ".") + "]]"
	case strings.Contains(text, "recipe."):
		return "want a table: [root.NAME]"
	case strings.Contains(text, "leading zeroes"):
		return `no number begins with 0; a mode is a text: "0644"`
	}
	return text
}

// place is where a key stands, from 1.
type place struct{ line, column int }

// places are those of all keys: root.NAME.hooks[0].when.
type places map[string]place

// find notes where each key stands. The text is known to be TOML.
func find(text []byte) places {
	found := places{}
	tables := map[string]int{} // how many elements an array of tables has so far
	var p unstable.Parser
	p.Reset(text)
	prefix := ""
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			prefix = found.table(&p, e, tables)
		case unstable.KeyValue:
			found.keyValue(&p, e, prefix)
		}
	}
	return found
}

// note adds a key's name to a path.
func (f places) note(p *unstable.Parser, path string, key *unstable.Node) string {
	path = strings.TrimPrefix(path+"."+string(key.Data), ".")
	if _, known := f[path]; !known && key.Raw.Length > 0 {
		start := p.Shape(key.Raw).Start
		f[path] = place{start.Line, start.Column}
	}
	return path
}

// table reads a header and returns the path that the keys below it have.
func (f places) table(p *unstable.Parser, e *unstable.Node, tables map[string]int) string {
	path := ""
	for it := e.Key(); it.Next(); {
		key := it.Node()
		path = f.note(p, path, key)
		switch n := tables[path]; {
		case it.IsLast() && e.Kind == unstable.ArrayTable:
			tables[path] = n + 1
			element := fmt.Sprintf("%s[%d]", path, n)
			start := p.Shape(key.Raw).Start
			f[element] = place{start.Line, start.Column}
			path = element
		case n > 0:
			path = fmt.Sprintf("%s[%d]", path, n-1)
		}
	}
	return path
}

func (f places) keyValue(p *unstable.Parser, e *unstable.Node, path string) {
	for it := e.Key(); it.Next(); {
		path = f.note(p, path, it.Node())
	}
	f.value(p, e.Value(), path)
}

func (f places) value(p *unstable.Parser, v *unstable.Node, path string) {
	switch v.Kind {
	case unstable.InlineTable:
		for it := v.Children(); it.Next(); {
			f.keyValue(p, it.Node(), path)
		}
	case unstable.Array:
		n := 0
		for it := v.Children(); it.Next(); n++ {
			element := fmt.Sprintf("%s[%d]", path, n)
			f[element] = f.at(path)
			if raw := it.Node().Raw; raw.Length > 0 {
				start := p.Shape(raw).Start
				f[element] = place{start.Line, start.Column}
			}
			f.value(p, it.Node(), element)
		}
	}
}

// at is the place of a path, else of what it lies in.
func (f places) at(path string) place {
	for path != "" {
		if p, ok := f[path]; ok {
			return p
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			break
		}
		path = path[:cut]
	}
	return place{}
}

// named is the path of the key that stands at a place, "" if none does.
func (f places) named(at place) (path string) {
	for p, where := range f {
		if where == at && !strings.HasSuffix(p, "]") && len(p) > len(path) {
			path = p
		}
	}
	return path
}
