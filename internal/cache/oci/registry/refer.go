package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	spec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"

	"github.com/rootctl/rootctl/internal/cache/oci"
)

// pushReferrers pushes the documents about u's manifest, but those of whose type there is one. A registry that refuses
// documents gets the image without them.
func (r *Repository) pushReferrers(ctx context.Context, u *Upload) error {
	if len(u.Referrers) == 0 {
		return nil
	}
	if err := r.repo.Manifests().Push(ctx, descriptorOf(u.Manifest), bytes.NewReader(u.Text)); err != nil { // some want the subject first
		return r.fail("push", err)
	}
	there, err := r.referrerTypes(ctx, u.Manifest)
	for i := range u.Referrers {
		if err == nil && !slices.Contains(there, u.Referrers[i].ArtifactType) {
			err = r.refer(ctx, u.Manifest, &u.Referrers[i])
		}
	}
	var status *statusError
	if errors.As(err, &status) && slices.Contains([]int{http.StatusBadRequest, http.StatusNotFound, http.StatusUnsupportedMediaType}, status.code) {
		r.log.Warn("the registry takes no documents about images, which go without", "error", err)
		return nil
	}
	return err
}

// maxReferrers bounds how many documents about an image are looked at.
const maxReferrers = 10_000

// referrerTypes are the types of the documents about an image that the registry has.
func (r *Repository) referrerTypes(ctx context.Context, subject oci.Descriptor) (types []string, err error) {
	n := 0
	err = r.repo.Referrers(ctx, descriptorOf(subject), "", func(page []spec.Descriptor) error {
		for _, d := range page {
			if !slices.Contains(types, d.ArtifactType) {
				types = append(types, d.ArtifactType)
			}
		}
		if n += len(page); n > maxReferrers {
			return fmt.Errorf("it lists more than %d documents about one image", maxReferrers)
		}
		return nil
	})
	if err != nil && !errors.Is(err, errdef.ErrNotFound) {
		return nil, r.fail("read", err)
	}
	return types, nil
}

// refer pushes a document that speaks of the manifest subject.
func (r *Repository) refer(ctx context.Context, subject oci.Descriptor, doc *oci.Referrer) error {
	blob := describe(doc.MediaType, doc.Data)
	empty := describe(oci.TypeEmpty, []byte("{}"))
	if _, err := r.pushBlobs(ctx, []Content{{blob, doc.Data, nil}, {empty, []byte("{}"), nil}}, nil); err != nil {
		return err
	}
	subject.Annotations, subject.Platform = nil, nil
	text := oci.Text(oci.Artifact{SchemaVersion: 2, MediaType: oci.TypeManifest, ArtifactType: doc.ArtifactType, Config: empty,
		Layers: []oci.Descriptor{blob}, Subject: &subject, Annotations: doc.Annotations})
	d := descriptorOf(describe(oci.TypeManifest, text))
	if err := r.repo.Manifests().Push(ctx, d, bytes.NewReader(text)); err != nil && !errors.Is(err, errdef.ErrAlreadyExists) {
		return r.fail("push", fmt.Errorf("%s: %w", doc.ArtifactType, plainError(err)))
	}
	return nil
}
