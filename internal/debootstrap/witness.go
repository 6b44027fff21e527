package debootstrap

import (
	"time"

	"github.com/rootctl/rootctl/internal/cache"
)

// A Witness is what a build says of itself that its result does not depend on. It is in no key and no digest.
type Witness struct {
	Version   string    `json:"version"`             // rootctl's
	Users     string    `json:"users,omitempty"`     // whose ids the files have: root, range, single
	Isolation string    `json:"isolation,omitempty"` // of maintainer scripts: own or host users, chroot
	Started   time.Time `json:"started"`
	Finished  time.Time `json:"finished"`
}

// kindWitness is that of a record of how a build made its root.
const kindWitness = "witness"

// witnessRecord stands in actions/ beside the record of the root, and goes with the root.
type witnessRecord struct {
	Kind string       `json:"kind"` // "witness"
	Root cache.Digest `json:"root"`
	Key  cache.Digest `json:"key"` // of the build, K2
	Witness
}

func witnessKey(root, key cache.Digest) cache.Digest {
	return cache.Sum([]byte("witness " + root + " " + key))
}

// witness records how a root was made. Without it nothing is amiss but that.
func (j *job) witness(res *Result) {
	if j.Witness == nil {
		return
	}
	w := j.Witness()
	w.Finished = j.Now().UTC()
	w.Started = w.Finished.Add(-time.Since(j.start)).Truncate(time.Second)
	w.Finished = w.Finished.Truncate(time.Second)
	if err := j.Store.StoreAction(witnessKey(res.Root, res.Key), witnessRecord{kindWitness, res.Root, res.Key, w}); err != nil {
		j.Log.Debug("record how the root was made", "error", err)
	}
}

// Provenance is all that the cache knows of how a root was made.
type Provenance struct {
	Info    Info
	Lock    *Lock        // nil if it was not built
	Resolve cache.Digest // K1, "" if not known
	Witness *Witness     // nil if not known: built by an older rootctl, or elsewhere
}

// ProvenanceOf reads what is known of a root that was built.
func ProvenanceOf(s *cache.Store, ref cache.Ref) (*Provenance, error) {
	lock, err := LockOfRoot(s, ref)
	if err != nil {
		return nil, err
	}
	var rec rootRecord
	if _, err := s.LoadAction(ref.Key, &rec); err != nil {
		return nil, err
	}
	p := &Provenance{Info: rec.Info, Lock: lock, Resolve: rec.Resolve}
	var w witnessRecord
	if ok, err := s.LoadAction(witnessKey(ref.Root, ref.Key), &w); err == nil && ok && w.Kind == kindWitness && w.Root == ref.Root {
		p.Witness = &w.Witness
	}
	return p, nil
}
