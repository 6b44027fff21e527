package archive

import (
	"fmt"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
)

// AtHand opens the pockets as they were last read, without asking a mirror: ok says that the store has
// the Release of each, one that would be taken today, and its indices of the components.
func AtHand(o Options) (a *Archive, ok bool) {
	a, lacks, err := Recorded(o)
	return a, err == nil && len(lacks) == 0
}

// Lack is a file that the store has not.
type Lack struct {
	Name string // "Release of bionic", or "main/binary-amd64/Packages.xz of bionic"
	Size int64  // in bytes, 0 if it is not known
	Why  error  // of a Release that is there and would not be taken today
}

// Recorded is AtHand that says what is missing for it.
func Recorded(o Options) (*Archive, []Lack, error) {
	a, err := prepare(o)
	if err != nil {
		return nil, nil, err
	}
	var lacks []Lack
	for _, p := range a.Pockets {
		ok, why := a.openRecorded(p)
		if !ok {
			lacks = append(lacks, Lack{Name: "Release of " + p.Suite, Why: why})
			continue
		}
		for _, c := range a.o.Components {
			f, _, err := a.choose(p, c+"/binary-"+a.o.Arch+"/Packages")
			if err != nil {
				return nil, nil, err
			}
			if f.Size > 0 && !a.o.Store.HasDownload(a.learned(f), f.Size) {
				lacks = append(lacks, Lack{Name: fmt.Sprintf("%s of %s", f.Path, p.Suite), Size: f.Size})
			}
		}
	}
	return a, lacks, nil
}

// learned is the SHA-256 of a file, "" if nobody has seen it yet.
func (a *Archive) learned(f File) cache.Digest {
	var r sumRecord
	if f.SHA256 != "" {
		return f.SHA256
	}
	if ok, err := a.o.Store.LoadAction(f.Identity(), &r); err != nil || !ok || r.Kind != "sha512" {
		return ""
	}
	return r.SHA256
}

// openRecorded takes the first recorded Release of p's mirrors that is good; why is what is wrong with
// the last one that is there.
func (a *Archive) openRecorded(p *Pocket) (ok bool, why error) {
	for i, mirror := range p.mirrors {
		old := a.load(p, mirror)
		if old == nil {
			continue
		}
		r, err := a.verify(old.message, a.lenient(p, i))
		if err == nil {
			err = a.judge(p.Suite, r, time.Time{}, a.lenient(p, i))
		}
		if err == nil {
			p.use(i, r)
			return true, nil
		}
		why = err
	}
	return false, why
}
