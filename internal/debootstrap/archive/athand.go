package archive

import (
	"fmt"
	"slices"
	"strings"
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
		more, err := a.openRecorded(p)
		if err != nil {
			return nil, nil, err
		}
		lacks = append(lacks, more...)
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

// openRecorded takes the first recorded Release of p that is good and whose indices are there, else the first that is
// good, and says what is missing for it: each is verified and judged again, under the trust of this request.
func (a *Archive) openRecorded(p *Pocket) ([]Lack, error) {
	var why, wrong error // of the last that is not good; of the first that has not what is asked for
	var lacks []Lack
	var use func()
	for _, c := range a.candidates(p) {
		r, err := a.verify(c.message, a.lenient(p, c.at))
		if err == nil {
			err = a.judge(p.Suite, r, time.Time{}, a.lenient(p, c.at))
		}
		if err != nil {
			why = err
			continue
		}
		missing, err := a.indicesLacking(p.Suite, r)
		switch {
		case err != nil && wrong == nil:
			wrong = err
		case err == nil && len(missing) == 0:
			p.use(c.at, r)
			return nil, nil
		case err == nil && use == nil:
			lacks, use = missing, func() { p.use(c.at, r) }
		}
	}
	switch {
	case use != nil:
		use()
		return lacks, nil
	case wrong != nil:
		return nil, wrong
	}
	return []Lack{{Name: "Release of " + p.Suite, Why: why}}, nil
}

// indicesLacking are the indices of the components that the store has not.
func (a *Archive) indicesLacking(suite string, r *Release) (lacks []Lack, err error) {
	for _, c := range a.o.Components {
		f, _, err := a.choose(suite, r, c+"/binary-"+a.o.Arch+"/Packages")
		if err != nil {
			return nil, err
		}
		if f.Size > 0 && !a.o.Store.HasDownload(a.learned(f), f.Size) {
			lacks = append(lacks, Lack{Name: fmt.Sprintf("%s of %s", f.Path, suite), Size: f.Size})
		}
	}
	return lacks, nil
}

// candidate is a recorded Release and which of the pocket's mirrors it is of.
type candidate struct {
	*record
	at int
}

// candidates are the recorded Releases of p: of the mirrors that the request names, in their order; then, with
// Elsewhere, all others of the suite, newest first, for which p gets their mirrors; else the suite's own.
func (a *Archive) candidates(p *Pocket) (named []candidate) {
	var rest []candidate
	seen := map[string]bool{}
	own := strings.ReplaceAll(p.Suite, "/", "_")
	for i, mirror := range p.mirrors {
		id := a.recordID(p, mirror)
		seen[id] = true
		r := a.load(p, mirror)
		switch {
		case r == nil:
		case id == own:
			rest = append(rest, candidate{r, i})
		default:
			named = append(named, candidate{r, i})
		}
	}
	if a.o.Elsewhere && a.o.At.IsZero() {
		rest = append(rest, a.elsewhere(p, seen)...)
		slices.SortStableFunc(rest, func(x, y candidate) int { return y.Date.Compare(x.Date) })
	}
	return append(named, rest...)
}

// elsewhere are the recorded Releases of p's suite that are of other mirrors than p's.
func (a *Archive) elsewhere(p *Pocket, seen map[string]bool) (found []candidate) {
	prefix := strings.ReplaceAll(p.Suite, "/", "_")
	ids, err := a.o.Store.Releases()
	if err != nil {
		a.o.Log.Debug("list the recorded Releases", "error", err)
	}
	for _, id := range ids {
		rest, ok := strings.CutPrefix(id, prefix)
		if !ok || seen[id] || rest != "" && !sourceSuffix(rest) {
			continue
		}
		b, err := a.o.Store.LoadRelease(id)
		if err != nil {
			continue
		}
		r := parseRecord(b, p.Suite)
		if r == nil || checkMirror(r.Mirror) != nil {
			continue
		}
		p.mirrors = append(p.mirrors, strings.TrimRight(r.Mirror, "/"))
		found = append(found, candidate{r, len(p.mirrors) - 1})
	}
	return found
}

// sourceSuffix says whether it is what recordID puts after the suite of a mirror that is not the suite's own.
func sourceSuffix(s string) bool {
	hex, ok := strings.CutPrefix(s, "-")
	return ok && len(hex) == 16 && strings.Trim(hex, "0123456789abcdef") == ""
}
