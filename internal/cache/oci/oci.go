// Package oci has the few documents of the OCI image layout that rootctl writes and reads: an image of one layer, and
// the index of a layout folder. Texts are a function of their values: no spaces, fields in a fixed order.
package oci

import (
	"encoding/json"
	"time"
)

// Media types.
const (
	TypeIndex    = "application/vnd.oci.image.index.v1+json"
	TypeManifest = "application/vnd.oci.image.manifest.v1+json"
	TypeConfig   = "application/vnd.oci.image.config.v1+json"
	TypeTar      = "application/vnd.oci.image.layer.v1.tar" // +gzip, +zstd
)

// Annotations. Those of our own describe the root.
const (
	RefNameKey    = "org.opencontainers.image.ref.name"
	RootKey       = "io.github.rootctl.root"       // digest of the canonical tar
	KeyKey        = "io.github.rootctl.key"        // of the build
	EpochKey      = "io.github.rootctl.epoch"      // seconds: no file is newer
	SuiteKey      = "io.github.rootctl.suite"      // codename
	VariantKey    = "io.github.rootctl.variant"    //
	UnverifiedKey = "io.github.rootctl.unverified" // "true": nobody's signature stands behind the packages
)

// LayoutFile and LayoutText are what tells a folder to be an image layout.
const (
	LayoutFile = "oci-layout"
	LayoutText = `{"imageLayoutVersion":"1.0.0"}`
	IndexFile  = "index.json"
	BlobFolder = "blobs/sha256"
)

// A Descriptor names a blob. Digest has "sha256:" before it.
type Descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    *Platform         `json:"platform,omitempty"`
}

// A Platform is an architecture in Go's words.
type Platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant,omitempty"`
}

// A Manifest is an image.
type Manifest struct {
	SchemaVersion int               `json:"schemaVersion"` // 2
	MediaType     string            `json:"mediaType"`
	Config        Descriptor        `json:"config"`
	Layers        []Descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// A Config says what an image is for and how to run it.
type Config struct {
	Created time.Time `json:"created"`
	Platform
	Config  RunConfig `json:"config"`
	RootFS  RootFS    `json:"rootfs"`
	History []History `json:"history"`
}

// A RunConfig is what a container gets by default.
type RunConfig struct {
	Env []string `json:"Env,omitempty"`
	Cmd []string `json:"Cmd,omitempty"`
}

// A RootFS lists the digests of uncompressed layers.
type RootFS struct {
	Type    string   `json:"type"` // "layers"
	DiffIDs []string `json:"diff_ids"`
}

// A History entry says what a layer came from.
type History struct {
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"`
}

// An Index lists the images of a layout.
type Index struct {
	SchemaVersion int          `json:"schemaVersion"` // 2
	MediaType     string       `json:"mediaType"`
	Manifests     []Descriptor `json:"manifests"`
}

// Text is v's one text.
func Text(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings, numbers and maps of strings
	}
	return b
}

// DebianOf gives a platform its Debian name, "" if Debian has none.
func DebianOf(p Platform) string {
	for _, arch := range []string{"amd64", "arm64", "i386", "armhf", "armel", "ppc64el", "riscv64", "s390x", "mipsel", "mips64el"} {
		if o := PlatformOf(arch); o.Architecture == p.Architecture && (o.Variant == p.Variant || p.Variant == "") {
			return arch
		}
	}
	return ""
}

// PlatformOf gives Debian's architecture its Go name.
func PlatformOf(debian string) Platform {
	p := Platform{Architecture: debian, OS: "linux"}
	switch debian {
	case "i386":
		p.Architecture = "386"
	case "armhf":
		p.Architecture, p.Variant = "arm", "v7"
	case "armel":
		p.Architecture, p.Variant = "arm", "v5"
	case "arm64":
		p.Variant = "v8"
	case "ppc64el":
		p.Architecture = "ppc64le"
	case "mipsel":
		p.Architecture = "mipsle"
	case "mips64el":
		p.Architecture = "mips64le"
	}
	return p
}
