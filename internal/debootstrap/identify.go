package debootstrap

import (
	"context"
	"fmt"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
)

// Identity is what the Release of a suite says of itself.
type Identity struct {
	Origin   string    `json:"origin"`
	Suite    string    `json:"suite"`
	Codename string    `json:"codename"`
	Date     time.Time `json:"date"`
	Mirror   string    `json:"mirror"` // without user and password
}

// Identify reads and verifies the Release of a request's suite and builds nothing. Errors are those of
// Build.
func (b *Builder) Identify(ctx context.Context, req Request) (Identity, error) {
	req, err := req.normalize()
	if err != nil {
		return Identity{}, err
	}
	j := &job{Builder: b, req: req, start: time.Now(), seconds: make(map[string]float64)}
	if b.Progress == nil {
		b.Progress = func(Event) {}
	}
	ar, err := j.open(ctx)
	if err != nil {
		return Identity{}, err
	}
	p := ar.Pockets[0]
	r := p.Release
	return Identity{Origin: r.Origin, Suite: r.Suite, Codename: r.Codename, Date: r.Date, Mirror: withoutUser(p.Mirror)}, nil
}

// roleRecord stands in actions/ and says which suite held a role when the archive was asked last.
type roleRecord struct {
	Kind string `json:"kind"` // "role"
	Identity
}

func roleKey(family, role string) cache.Digest {
	return cache.Sum([]byte("role " + family + " " + role))
}

// RememberRole records what an archive answered.
func RememberRole(s *cache.Store, family, role string, i Identity) error {
	if s.ReadOnly() {
		return nil
	}
	if err := s.StoreAction(roleKey(family, role), roleRecord{"role", i}); err != nil {
		return fmt.Errorf("record who is %s: %w", role, err)
	}
	return nil
}

// LastRole is what RememberRole recorded last; ok is false when there is nothing.
func LastRole(s *cache.Store, family, role string) (i Identity, ok bool) {
	var r roleRecord
	if ok, err := s.LoadAction(roleKey(family, role), &r); err != nil || !ok || r.Kind != "role" || r.Codename == "" {
		return i, false
	}
	return r.Identity, true
}
