package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	spec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/rootctl/rootctl/internal/cache/oci"
	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// Bounds of what is read into memory.
const (
	maxManifest = 4 << 20
	maxRedirect = 10
)

// MismatchError is content that is not what its digest or size says.
type MismatchError struct {
	What, Want, Got string
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s is %s, and should be %s", e.What, e.Got, e.Want)
}

// Hint is the next step.
func (e *MismatchError) Hint() string {
	return "what the registry holds is damaged or was tampered with: delete it there and push it again"
}

// Manifest reads the manifest of a tag or digest, with one request, and returns its descriptor with it. The descriptor's
// digest is that of the bytes. ErrNotFound is one that is not there.
func (r *Repository) Manifest(ctx context.Context, name string) (oci.Descriptor, *oci.Manifest, error) {
	if err := r.Connect(ctx); err != nil {
		return oci.Descriptor{}, nil, err
	}
	d, text, err := r.manifestText(r.scoped(ctx, false), name)
	if err != nil {
		return d, nil, r.fail("read", err)
	}
	var m oci.Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return d, nil, r.fail("read", fmt.Errorf("its manifest is no JSON: %w", err))
	}
	if m.SchemaVersion != 2 || m.MediaType != oci.TypeManifest {
		return d, nil, r.fail("read", fmt.Errorf("it is no image of one architecture, but %q", clip(m.MediaType)))
	}
	return d, &m, nil
}

func (r *Repository) manifestText(ctx context.Context, name string) (d oci.Descriptor, text []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url("/manifests/"+name), nil)
	if err != nil {
		return d, nil, err
	}
	req.Header.Set("Accept", oci.TypeManifest+", "+oci.TypeIndex)
	resp, err := r.http.Do(req)
	if err != nil {
		return d, nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return d, nil, answer(resp)
	}
	text, err = io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
	if err != nil {
		return d, nil, err
	}
	if len(text) > maxManifest {
		return d, nil, errors.New("its manifest is larger than 4 MB")
	}
	d = oci.Descriptor{MediaType: oci.TypeManifest, Digest: "sha256:" + string(snapshot.Sum(text)), Size: int64(len(text))}
	if strings.HasPrefix(name, "sha256:") && name != d.Digest {
		return d, nil, &MismatchError{"the manifest", name, d.Digest}
	}
	return d, text, nil
}

// answer makes an error of an answer that is none hoped for.
func answer(resp *http.Response) error {
	e := &statusError{code: resp.StatusCode}
	var said struct {
		Errors []struct{ Code, Message string }
	}
	if b, err := io.ReadAll(io.LimitReader(resp.Body, 8<<10)); err == nil && json.Unmarshal(b, &said) == nil && len(said.Errors) > 0 {
		e.message = clip(said.Errors[0].Message)
	}
	return e
}

// Small reads a blob of at most limit bytes and checks it.
func (r *Repository) Small(ctx context.Context, d oci.Descriptor, limit int64) ([]byte, error) {
	if d.Size < 0 || d.Size > limit {
		return nil, r.fail("read", fmt.Errorf("a blob of %d bytes, where at most %d make sense", d.Size, limit))
	}
	if sum, ok := strings.CutPrefix(d.Digest, "sha256:"); !ok || !snapshot.Digest(sum).Valid() {
		return nil, r.fail("read", fmt.Errorf("%q is no digest", clip(d.Digest)))
	}
	blob := r.Blob(ctx, d, 0)
	defer blob.Close()
	b, err := io.ReadAll(blob)
	if err != nil {
		return nil, err
	}
	if got := "sha256:" + string(snapshot.Sum(b)); got != d.Digest {
		return nil, r.fail("read", &MismatchError{"a blob", d.Digest, got})
	}
	return b, nil
}

func descriptorOf(d oci.Descriptor) spec.Descriptor {
	return spec.Descriptor{MediaType: d.MediaType, Digest: digest.Digest(d.Digest), Size: d.Size}
}
