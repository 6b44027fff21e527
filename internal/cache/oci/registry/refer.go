package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	spec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"

	"github.com/rootctl/rootctl/internal/cache/oci"
)

// Refuses reports whether err is the answer of a registry that does not know such documents or requests, and not of one
// that wants a login, has no time or is broken.
func Refuses(err error) bool {
	var status *statusError
	return errors.As(err, &status) && slices.Contains([]int{http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotAcceptable,
		http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity, http.StatusNotImplemented}, status.code)
}

// pushReferrers pushes the documents about u's manifest, but those of whose type there is one. A registry that refuses
// documents gets the image without them.
func (r *Repository) pushReferrers(ctx context.Context, u *Upload) error {
	if len(u.Referrers) == 0 {
		return nil
	}
	err := r.tryReferrers(ctx, u)
	if !Refuses(err) {
		return err
	}
	if u.Refused != nil {
		u.Refused(err)
	}
	return nil
}

// Bounds of how often the documents are listed again, and of the time before that: a registry without a list has a tag in
// its stead, and whoever pushes at the same time may have written over what was added to it.
const (
	maxLists = 8
	listWait = 20 * time.Millisecond
)

func (r *Repository) tryReferrers(ctx context.Context, u *Upload) error {
	if err := r.repo.Manifests().Push(ctx, descriptorOf(u.Manifest), bytes.NewReader(u.Text)); err != nil { // some want the subject first
		return r.fail("push", err)
	}
	for n := range maxLists {
		there, err := r.referrerTypes(ctx, u.Manifest)
		if err != nil {
			return err
		}
		missing := slices.DeleteFunc(slices.Clone(u.Referrers), func(d oci.Referrer) bool { return slices.Contains(there, d.ArtifactType) })
		if len(missing) == 0 {
			return nil
		}
		for i := range missing {
			if err := r.refer(ctx, u.Manifest, &missing[i]); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(rand.N(listWait << n)): //nolint:gosec // not a secret
		}
	}
	r.log.Debug("others keep writing over the list of documents", "tries", maxLists)
	return nil
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
