package lockfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	maxFile   = 256 << 20
	maxDepth  = 16
	maxMemory = 256 << 20 // of the lists' and tables' elements; 1000 roots of 100 packages take a fifth
)

// Error is something in a lock file that cannot be meant.
type Error struct {
	Line, Column int    // from 1
	Field        string // roots.bionic:amd64.packages[3].path; "" if it is not in one
	What         string
	newer        bool
}

func (e *Error) Error() string {
	at := fmt.Sprintf("line %d, column %d: ", e.Line, e.Column)
	if e.Field != "" {
		at += e.Field + ": "
	}
	return at + e.What
}

// Hint is the next step to take.
func (e *Error) Hint() string {
	if e.newer {
		return "the file is of another version of rootctl: use that, or write it anew with rootctl lock SUITE..."
	}
	return "was it changed by hand or cut short? rootctl lock SUITE... writes it anew"
}

// Decode reads a file and judges all that it says. Errors are *Error.
func Decode(data []byte) (File, error) { return decode(data, maxMemory) }

func decode(data []byte, memory int64) (File, error) {
	r := &reader{data: data, memory: memory}
	var f File
	if len(data) > maxFile {
		return f, r.failAt(maxFile, "", "larger than %d bytes", maxFile)
	}
	if !utf8.Valid(data) {
		n := 0
		for c, size := utf8.DecodeRune(data); c != utf8.RuneError || size > 1; c, size = utf8.DecodeRune(data[n:]) {
			n += size
		}
		return f, r.failAt(int64(n), "", "bytes that are no UTF-8")
	}
	// Of another schema nothing else is known.
	var other struct {
		Schema json.Number `json:"schema"`
	}
	if json.Unmarshal(data, &other) == nil && other.Schema != "" && other.Schema.String() != fmt.Sprint(Schema) {
		e := r.failAt(int64(max(0, bytes.Index(data, []byte(`"schema"`)))), "schema", "%s: this rootctl reads %d", other.Schema, Schema)
		e.newer = true
		return f, e
	}
	if err := r.read(&f); err != nil {
		return File{}, err
	}
	if end := r.start(); end < int64(len(data)) {
		return File{}, r.failAt(end, "", "something behind the end of the file's only object")
	}
	if err := check(r, f); err != nil {
		return File{}, err
	}
	return f, nil
}

// reader fills a value from JSON, strictly: no field twice, none that is not known, no null.
type reader struct {
	data   []byte
	dec    *json.Decoder
	memory int64 // that elements may still take
	// Where values are is asked for but once, for an error: the file is read again for it.
	want string           // a path
	at   map[string]int64 // where it and those around it begin; those that are there
}

// A place is where in the file a value is. Its path is made when it is needed: paths can be longer than the file.
type place struct {
	in    *place // nil for the file's only object
	key   string // "" in a list
	index int
}

func (p *place) String() string {
	switch {
	case p == nil || p.in == nil:
		return ""
	case p.key == "":
		return fmt.Sprintf("%s[%d]", p.in, p.index)
	}
	return strings.TrimPrefix(p.in.String()+"."+p.key, ".")
}

func (r *reader) read(f *File) error {
	r.dec = json.NewDecoder(bytes.NewReader(r.data))
	r.dec.UseNumber()
	return r.value(reflect.ValueOf(f).Elem(), &place{}, 0)
}

// find gives the offsets of the value at path and of those that it is in.
func (r *reader) find(path string) map[string]int64 {
	again := &reader{data: r.data, memory: math.MaxInt64, want: path, at: map[string]int64{}}
	_ = again.read(new(File)) // it was read without an error
	return again.at
}

// note remembers where a value begins if it is on the way to the one that is looked for.
func (r *reader) note(p *place, start int64) {
	if len(r.at) > maxDepth || p.in != nil && len(p.key) > len(r.want) {
		return
	}
	if path := p.String(); path == "" || path == r.want || strings.HasPrefix(r.want, path+".") || strings.HasPrefix(r.want, path+"[") {
		r.at[path] = start
	}
}

// spend counts the memory of an element.
func (r *reader) spend(p *place, size uintptr) error {
	if r.memory -= int64(size); r.memory < 0 {
		return r.failAt(r.start(), p.String(), "more elements than the lock of a root, or of a thousand, can have")
	}
	return nil
}

func (r *reader) failAt(offset int64, field, format string, args ...any) *Error {
	before := r.data[:min(int(offset), len(r.data))]
	line := bytes.Count(before, []byte("\n")) + 1
	return &Error{Line: line, Column: len(before) - bytes.LastIndexByte(before, '\n'), Field: field, What: fmt.Sprintf(format, args...)}
}

// fail is for a value that has been read.
func (r *reader) fail(path, format string, args ...any) error {
	return r.failAt(r.find(path)[path], path, format, args...)
}

// start is where the next token begins.
func (r *reader) start() int64 {
	n := r.dec.InputOffset()
	for n < int64(len(r.data)) && strings.IndexByte(" \t\r\n,:", r.data[n]) >= 0 {
		n++
	}
	return n
}

func (r *reader) token(p *place) (json.Token, int64, error) {
	start := r.start()
	t, err := r.dec.Token()
	var syntax *json.SyntaxError
	switch {
	case err == nil:
		return t, start, nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, start, r.failAt(int64(len(r.data)), p.String(), "the file ends here")
	case errors.As(err, &syntax):
		return nil, start, r.failAt(max(syntax.Offset-1, 0), p.String(), "%s", syntax)
	}
	return nil, start, r.failAt(start, p.String(), "%s", err)
}

func (r *reader) value(v reflect.Value, p *place, depth int) error {
	t, start, err := r.token(p)
	if err != nil {
		return err
	}
	if depth > maxDepth {
		return r.failAt(start, p.String(), "nested too deeply")
	}
	if r.at != nil {
		r.note(p, start)
	}
	wrong := func(want string) error { return r.failAt(start, p.String(), "want %s", want) }
	if v.Type() == reflect.TypeFor[time.Time]() {
		s, _ := t.(string)
		at, err := time.Parse(time.RFC3339, s)
		if err != nil {
			return wrong("a time like 2018-04-26T23:37:48Z")
		}
		v.Set(reflect.ValueOf(at.UTC()))
		return nil
	}
	switch v.Kind() {
	case reflect.Struct:
		if t != json.Delim('{') {
			return wrong("an object")
		}
		return r.object(v, p, depth)
	case reflect.Map:
		if t != json.Delim('{') {
			return wrong("an object")
		}
		return r.table(v, p, depth)
	case reflect.Slice:
		if t != json.Delim('[') {
			return wrong("a list")
		}
		return r.list(v, p, depth)
	case reflect.String:
		s, ok := t.(string)
		if !ok {
			return wrong("a string")
		}
		v.SetString(s)
	case reflect.Bool:
		b, ok := t.(bool)
		if !ok {
			return wrong("true or false")
		}
		v.SetBool(b)
	default:
		n, ok := t.(json.Number)
		if !ok || json.Unmarshal([]byte(n), v.Addr().Interface()) != nil {
			return wrong("a whole number that is not too large")
		}
	}
	return nil
}

// names are the fields of a struct by the name they have in JSON.
func names(t reflect.Type) map[string]int {
	fields := map[string]int{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		fields[name] = i
	}
	return fields
}

func (r *reader) object(v reflect.Value, p *place, depth int) error {
	fields := names(v.Type())
	seen := map[string]bool{}
	return r.keys(p, seen, func(key string, inner *place, at int64) error {
		i, ok := fields[key]
		if !ok {
			return r.failAt(at, inner.String(), "unknown field")
		}
		return r.value(v.Field(i), inner, depth+1)
	})
}

func (r *reader) table(v reflect.Value, p *place, depth int) error {
	v.Set(reflect.MakeMap(v.Type()))
	return r.keys(p, map[string]bool{}, func(key string, inner *place, _ int64) error {
		// A map takes about as much again, and the name is in a second one while the table is read.
		if err := r.spend(inner, v.Type().Elem().Size()+100); err != nil {
			return err
		}
		e := reflect.New(v.Type().Elem()).Elem()
		if err := r.value(e, inner, depth+1); err != nil {
			return err
		}
		v.SetMapIndex(reflect.ValueOf(key), e)
		return nil
	})
}

// keys reads an object's fields up to its end.
func (r *reader) keys(p *place, seen map[string]bool, f func(key string, inner *place, at int64) error) error {
	for r.dec.More() {
		t, at, err := r.token(p)
		if err != nil {
			return err
		}
		key, ok := t.(string)
		if !ok {
			return r.failAt(at, p.String(), "want the name of a field")
		}
		if key == "" || !plain(key) {
			return r.failAt(at, p.String(), "%.60q: no name of anything", key)
		}
		inner := &place{in: p, key: key}
		if seen[key] {
			return r.failAt(at, inner.String(), "it stands there twice")
		}
		seen[key] = true
		if err := f(key, inner, at); err != nil {
			return err
		}
	}
	_, _, err := r.token(p)
	return err
}

func (r *reader) list(v reflect.Value, p *place, depth int) error {
	for i := 0; r.dec.More(); i++ {
		inner := &place{in: p, index: i}
		if err := r.spend(inner, v.Type().Elem().Size()); err != nil {
			return err
		}
		e := reflect.New(v.Type().Elem()).Elem()
		if err := r.value(e, inner, depth+1); err != nil {
			return err
		}
		v.Set(reflect.Append(v, e))
	}
	_, _, err := r.token(p)
	return err
}
