package lockfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Encode writes a file: keys sorted, a package a line, a line of a paragraph a line. One that Decode would
// refuse is an error.
func Encode(f File) ([]byte, error) {
	f.Schema = Schema
	text, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encode lock file: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		return nil, fmt.Errorf("encode lock file: %w", err)
	}
	var b bytes.Buffer
	write(&b, tree, "", 0)
	b.WriteByte('\n')
	if _, err := Decode(b.Bytes()); err != nil {
		return nil, fmt.Errorf("encode lock file: %w", err)
	}
	return b.Bytes(), nil
}

// write lays a value out; name is the key it stands under.
func write(b *bytes.Buffer, v any, name string, depth int) {
	indent := "\n" + strings.Repeat("  ", depth+1)
	item := func(i int) {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(indent)
	}
	switch v := v.(type) {
	case map[string]any:
		b.WriteByte('{')
		for i, key := range slices.Sorted(maps.Keys(v)) {
			item(i)
			b.Write(scalar(key))
			b.WriteString(": ")
			write(b, v[key], key, depth+1)
		}
		closing(b, '}', len(v), depth)
	case []any:
		b.WriteByte('[')
		for i, e := range v {
			item(i)
			if _, isObject := e.(map[string]any); isObject && name == "packages" {
				b.Write(scalar(e))
			} else {
				write(b, e, "", depth+1)
			}
		}
		closing(b, ']', len(v), depth)
	default:
		b.Write(scalar(v))
	}
}

func closing(b *bytes.Buffer, bracket byte, n, depth int) {
	if n > 0 {
		b.WriteString("\n" + strings.Repeat("  ", depth))
	}
	b.WriteByte(bracket)
}

// scalar encodes on one line. json.Marshal sorts the keys of maps.
func scalar(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err)) // it comes from a decoder
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
