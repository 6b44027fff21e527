package lockfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	maxFile  = 256 << 20
	maxDepth = 16
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
func Decode(data []byte) (File, error) {
	r := &reader{data: data, at: map[string]int64{}}
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
	r.dec = json.NewDecoder(bytes.NewReader(data))
	r.dec.UseNumber()
	if err := r.value(reflect.ValueOf(&f).Elem(), "", 0); err != nil {
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
	data []byte
	dec  *json.Decoder
	at   map[string]int64 // where a value begins, by its path
}

func (r *reader) failAt(offset int64, field, format string, args ...any) *Error {
	before := r.data[:min(int(offset), len(r.data))]
	line := bytes.Count(before, []byte("\n")) + 1
	return &Error{Line: line, Column: len(before) - bytes.LastIndexByte(before, '\n'), Field: field, What: fmt.Sprintf(format, args...)}
}

// fail is for a value that has been read.
func (r *reader) fail(path, format string, args ...any) error {
	return r.failAt(r.at[path], path, format, args...)
}

// start is where the next token begins.
func (r *reader) start() int64 {
	n := r.dec.InputOffset()
	for n < int64(len(r.data)) && strings.IndexByte(" \t\r\n,:", r.data[n]) >= 0 {
		n++
	}
	return n
}

func (r *reader) token(path string) (json.Token, int64, error) {
	start := r.start()
	t, err := r.dec.Token()
	var syntax *json.SyntaxError
	switch {
	case err == nil:
		return t, start, nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, start, r.failAt(int64(len(r.data)), path, "the file ends here")
	case errors.As(err, &syntax):
		return nil, start, r.failAt(max(syntax.Offset-1, 0), path, "%s", syntax)
	}
	return nil, start, r.failAt(start, path, "%s", err)
}

func (r *reader) value(v reflect.Value, path string, depth int) error {
	t, start, err := r.token(path)
	if err != nil {
		return err
	}
	if depth > maxDepth {
		return r.failAt(start, path, "nested too deeply")
	}
	r.at[path] = start
	wrong := func(want string) error { return r.failAt(start, path, "want %s", want) }
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
		return r.object(v, path, depth)
	case reflect.Map:
		if t != json.Delim('{') {
			return wrong("an object")
		}
		return r.table(v, path, depth)
	case reflect.Slice:
		if t != json.Delim('[') {
			return wrong("a list")
		}
		return r.list(v, path, depth)
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

func (r *reader) object(v reflect.Value, path string, depth int) error {
	fields := names(v.Type())
	seen := map[string]bool{}
	return r.keys(path, seen, func(key, inner string, at int64) error {
		i, ok := fields[key]
		if !ok {
			return r.failAt(at, inner, "unknown field")
		}
		return r.value(v.Field(i), inner, depth+1)
	})
}

func (r *reader) table(v reflect.Value, path string, depth int) error {
	v.Set(reflect.MakeMap(v.Type()))
	return r.keys(path, map[string]bool{}, func(key, inner string, _ int64) error {
		e := reflect.New(v.Type().Elem()).Elem()
		if err := r.value(e, inner, depth+1); err != nil {
			return err
		}
		v.SetMapIndex(reflect.ValueOf(key), e)
		return nil
	})
}

// keys reads an object's fields up to its end.
func (r *reader) keys(path string, seen map[string]bool, f func(key, inner string, at int64) error) error {
	for r.dec.More() {
		t, at, err := r.token(path)
		if err != nil {
			return err
		}
		key, ok := t.(string)
		if !ok {
			return r.failAt(at, path, "want the name of a field")
		}
		inner := strings.TrimPrefix(path+"."+key, ".")
		if seen[key] {
			return r.failAt(at, inner, "it stands there twice")
		}
		seen[key] = true
		if err := f(key, inner, at); err != nil {
			return err
		}
	}
	_, _, err := r.token(path)
	return err
}

func (r *reader) list(v reflect.Value, path string, depth int) error {
	for i := 0; r.dec.More(); i++ {
		e := reflect.New(v.Type().Elem()).Elem()
		if err := r.value(e, fmt.Sprintf("%s[%d]", path, i), depth+1); err != nil {
			return err
		}
		v.Set(reflect.Append(v, e))
	}
	_, _, err := r.token(path)
	return err
}
