package sbom

import (
	"fmt"
	"time"
)

// InTotoType is the media type of what Provenance.InToto returns.
const InTotoType = "application/vnd.in-toto+json"

// What InToto's documents call their kinds.
const (
	statementType = "https://in-toto.io/Statement/v1"
	predicateType = "https://slsa.dev/provenance/v1"
	builder       = "https://github.com/rootctl/rootctl"
)

// A Provenance is how a root came to be. Nothing in it is secret: mirrors have no user and no password.
type Provenance struct {
	Name      string         // of the root, for people
	Digest    string         // SHA-256 of its canonical tar, in hex
	How       string         // build, import, commit
	Asked     map[string]any // what whoever asked for the root has chosen
	Internal  map[string]any // what rootctl made of it, keys and exceptions included
	Materials []Material
	Version   string // rootctl's, "" if not known
	Started   time.Time
	Finished  time.Time
}

// A Material is something that the root was made of.
type Material struct {
	Name        string
	URI         string
	SHA256      string // in hex, "" if not known
	Annotations map[string]any
}

type statement struct {
	Type          string     `json:"_type"`
	Subject       []resource `json:"subject"`
	PredicateType string     `json:"predicateType"`
	Predicate     predicate  `json:"predicate"`
}

// resource is a ResourceDescriptor of in-toto.
type resource struct {
	Name        string            `json:"name,omitempty"`
	URI         string            `json:"uri,omitempty"`
	Digest      map[string]string `json:"digest,omitempty"`
	Annotations map[string]any    `json:"annotations,omitempty"`
}

// predicate is SLSA's provenance, version 1: https://slsa.dev/spec/v1.0/provenance.
type predicate struct {
	Definition struct {
		Type     string         `json:"buildType"`
		External map[string]any `json:"externalParameters"`
		Internal map[string]any `json:"internalParameters,omitempty"`
		Resolved []resource     `json:"resolvedDependencies,omitempty"`
	} `json:"buildDefinition"`
	Run struct {
		Builder struct {
			ID      string            `json:"id"`
			Version map[string]string `json:"version,omitempty"`
		} `json:"builder"`
		Metadata times `json:"metadata,omitzero"`
	} `json:"runDetails"`
}

type times struct {
	Started  time.Time `json:"startedOn,omitzero"`
	Finished time.Time `json:"finishedOn,omitzero"`
}

// InToto is the provenance as an in-toto statement, unsigned.
func (p *Provenance) InToto() ([]byte, error) {
	s := statement{Type: statementType, PredicateType: predicateType,
		Subject: []resource{{Name: p.Name, Digest: digest(p.Digest)}}}
	d, r := &s.Predicate.Definition, &s.Predicate.Run
	d.Type, d.External, d.Internal = builder+"/"+p.How+"@v1", p.Asked, p.Internal
	if d.External == nil {
		d.External = map[string]any{}
	}
	for _, m := range p.Materials {
		d.Resolved = append(d.Resolved, resource{Name: m.Name, URI: m.URI, Digest: digest(m.SHA256), Annotations: m.Annotations})
	}
	r.Builder.ID = builder
	if p.Version != "" {
		r.Builder.Version = map[string]string{"rootctl": p.Version}
	}
	r.Metadata = times{p.Started, p.Finished}
	text, err := encode(s)
	if err != nil {
		return nil, fmt.Errorf("write provenance: %w", err)
	}
	return text, nil
}

func digest(sha256 string) map[string]string {
	if sha256 == "" {
		return nil
	}
	return map[string]string{"sha256": sha256}
}
