package oci

// Media types of what is no image.
const (
	TypeEmpty   = "application/vnd.oci.empty.v1+json"
	TypeClosure = "application/vnd.rootctl.closure.v1+json" // what a selection of packages gave
	TypeRelease = "application/vnd.rootctl.release.v1"      // an archive's signed Release

	TypeSBOM       = "application/vnd.cyclonedx+json"
	TypeProvenance = "application/vnd.in-toto+json"
)

// A Referrer is a document of its own that speaks of an image: pushed beside it, and found by its digest.
type Referrer struct {
	ArtifactType, MediaType string
	Data                    []byte
	Annotations             map[string]string
}

// An Artifact is a manifest of documents.
type Artifact struct {
	SchemaVersion int               `json:"schemaVersion"` // 2
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        Descriptor        `json:"config"` // the empty one
	Layers        []Descriptor      `json:"layers"`
	Subject       *Descriptor       `json:"subject,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// RootTag and ClosureTag are a key's names in a registry.
func RootTag(key string) string { return "r-" + key }

// ClosureTag is the name of a selection.
func ClosureTag(key string) string { return "c-" + key }

// ReleaseTag is the name of an archive's Release at a mirror.
func ReleaseTag(name string) string { return "i-" + name }
