// Package sbomtest holds bills of materials against CycloneDX's JSON schema, for tests.
package sbomtest

import (
	"bytes"
	"compress/gzip"
	"embed"
	"fmt"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

//go:embed testdata/*.gz
var files embed.FS

// A Schema is CycloneDX 1.6's.
type Schema struct{ s *jsonschema.Schema }

// Open reads the schema and what it refers to.
func Open() (*Schema, error) {
	const base = "http://cyclonedx.org/schema/"
	c := jsonschema.NewCompiler()
	for _, name := range []string{"bom-1.6.schema.json", "spdx.schema.json", "jsf-0.82.schema.json"} {
		b, err := files.ReadFile("testdata/" + name + ".gz")
		if err != nil {
			return nil, err
		}
		r, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		doc, err := jsonschema.UnmarshalJSON(r)
		if err == nil {
			err = c.AddResource(base+name, doc)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	s, err := c.Compile(base + "bom-1.6.schema.json")
	return &Schema{s}, err
}

// Check says what is wrong with a document.
func (s *Schema) Check(text []byte) error {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return s.s.Validate(doc)
}
