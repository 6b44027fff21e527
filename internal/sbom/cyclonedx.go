package sbom

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
)

// CycloneDXType is the media type of what CycloneDX returns.
const CycloneDXType = "application/vnd.cyclonedx+json"

// The documents of CycloneDX 1.6, as far as they are used: https://cyclonedx.org/docs/1.6/json/.
type bom struct {
	Schema       string      `json:"$schema"`
	Format       string      `json:"bomFormat"`
	SpecVersion  string      `json:"specVersion"`
	SerialNumber string      `json:"serialNumber,omitempty"`
	Version      int         `json:"version"`
	Metadata     metadata    `json:"metadata"`
	Components   []component `json:"components"`
}

type metadata struct {
	Tools      tools      `json:"tools"`
	Component  component  `json:"component"`
	Properties []Property `json:"properties,omitempty"`
}

type tools struct {
	Components []component `json:"components"`
}

type component struct {
	Type        string     `json:"type"`
	Ref         string     `json:"bom-ref,omitempty"`
	Name        string     `json:"name"`
	Version     string     `json:"version,omitempty"`
	Description string     `json:"description,omitempty"`
	Hashes      []hash     `json:"hashes,omitempty"`
	PURL        string     `json:"purl,omitempty"`
	Properties  []Property `json:"properties,omitempty"`
}

type hash struct {
	Alg     string `json:"alg"`
	Content string `json:"content"`
}

// CycloneDX is the root's bill of materials as JSON of CycloneDX 1.6. Its serial number is made of the digest of all the
// rest: equal roots have equal documents. Licences are left out, for no index of packages states them.
func (r *Root) CycloneDX() ([]byte, error) {
	d := bom{Schema: "http://cyclonedx.org/schema/bom-1.6.schema.json", Format: "CycloneDX", SpecVersion: "1.6", Version: 1,
		Components: []component{},
		Metadata: metadata{
			Tools:     tools{[]component{{Type: "application", Name: "rootctl"}}},
			Component: r.component(), Properties: r.Properties,
		}}
	for _, p := range r.sorted() {
		d.Components = append(d.Components, r.packageComponent(&p))
	}
	text, err := encode(d)
	if err != nil {
		return nil, fmt.Errorf("write bill of materials: %w", err)
	}
	d.SerialNumber = serial(sha256.Sum256(text))
	return encode(d)
}

func (r *Root) component() component {
	c := component{Type: "operating-system", Ref: "root", Name: r.family(), Version: r.Version, Description: r.Title, Hashes: hashes(r.Digest)}
	for _, p := range []Property{{"rootctl:suite", r.Suite}, {"rootctl:arch", r.Arch}} {
		if p.Value != "" {
			c.Properties = append(c.Properties, p)
		}
	}
	return c
}

func (r *Root) packageComponent(p *Package) component {
	purl := r.purl(p)
	c := component{Type: "library", Ref: purl, Name: p.Name, Version: p.Version, PURL: purl, Hashes: hashes(p.SHA256)}
	c.Properties = slices.Clone(p.Properties)
	return c
}

func hashes(sha256 string) []hash {
	if sha256 == "" {
		return nil
	}
	return []hash{{"SHA-256", sha256}}
}

// serial is a UUID of version 8 (RFC 9562): one of whoever makes it.
func serial(sum [32]byte) string {
	u := sum[:16]
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	return b.Bytes(), err
}
