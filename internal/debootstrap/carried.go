package debootstrap

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/cache/parcel"
)

// kindChecked is that of a record of when a request was last held against the archive.
const kindChecked = "checked"

// checkedRecord stands in actions/ and says that a request led to a root when the archive was asked.
type checkedRecord struct {
	Kind    string       `json:"kind"` // "checked"
	Root    cache.Digest `json:"root"`
	Request cache.Digest `json:"request"`
	Time    time.Time    `json:"time"`
}

func checkedKey(request cache.Digest) cache.Digest {
	return cache.Sum([]byte("checked " + request))
}

// RememberCheck records that the archive was asked just now and req leads to root. A read-only cache is left alone.
func RememberCheck(s *cache.Store, req Request, root cache.Digest, now time.Time) error {
	req, err := req.normalize()
	if err != nil || s.ReadOnly() {
		return err
	}
	rk := requestKey(req).Key
	if err := s.StoreAction(checkedKey(rk), checkedRecord{kindChecked, root, rk, now.UTC().Truncate(time.Second)}); err != nil {
		return fmt.Errorf("record the check: %w", err)
	}
	return nil
}

// LastCheck is when req was last found to lead to root.
func LastCheck(s *cache.Store, req Request, root cache.Digest) (time.Time, bool) {
	req, err := req.normalize()
	if err != nil {
		return time.Time{}, false
	}
	var rec checkedRecord
	rk := requestKey(req).Key
	ok, err := s.LoadAction(checkedKey(rk), &rec)
	return rec.Time, err == nil && ok && rec.Kind == kindChecked && rec.Root == root && rec.Request == rk
}

// carried is what all records that travel with roots have.
type carried struct {
	Kind    string       `json:"kind"`
	Root    cache.Digest `json:"root"`
	Key     cache.Digest `json:"key"`     // of a request
	Resolve cache.Digest `json:"resolve"` // K1
	Request cache.Digest `json:"request"` // of a check
	Lock    *Lock        `json:"lock"`
	Info    Info         `json:"info"`
}

// Carry lists the records that go with roots to another cache, in the order in which they are kept there: inputs of keys,
// selections, what builds, imports and commits made, how builds did, what requests led to, when that was checked.
func Carry(s *cache.Store, roots []cache.Digest) []parcel.Record {
	ranks := [...][]string{{kindRoot, "import", "commit"}, {kindWitness}, {kindRequest}, {kindChecked}}
	var found [len(ranks)][]parcel.Record
	of := map[string]*carried{}
	for key, text := range s.Actions() {
		c := new(carried)
		if json.Unmarshal(text, c) != nil || !slices.Contains(roots, c.Root) {
			continue
		}
		of[string(key)] = c
		for i, kinds := range ranks {
			if slices.Contains(kinds, c.Kind) {
				found[i] = append(found[i], parcel.Record{Folder: "actions", Name: string(key), Text: string(text)})
			}
		}
	}
	var texts, selections, rest []parcel.Record
	made := map[cache.Digest]*carried{}
	seen := map[cache.Digest]bool{}
	input := func(key cache.Digest) bool {
		text, err := s.LoadInputs(key)
		if err == nil && !seen[key] {
			texts = append(texts, parcel.Record{Folder: "inputs", Name: string(key), Text: string(text)})
		}
		seen[key] = true
		return err == nil
	}
	for _, rec := range slices.Concat(found[:]...) {
		key, c := cache.Digest(rec.Name), of[rec.Name]
		asked, _ := s.LoadInputs(key)
		if !c.fits(key, asked, made) {
			continue
		}
		made[key] = c
		rest = append(rest, rec)
		input(key)
		var selection json.RawMessage
		if k := c.Resolve; k.Valid() && !seen[k] && input(k) {
			if ok, err := s.LoadAction(k, &selection); err == nil && ok {
				selections = append(selections, parcel.Record{Folder: "actions", Name: string(k), Text: string(selection)})
			}
		}
	}
	return slices.Concat(texts, selections, rest)
}

// CheckCarried refuses records that no rootctl makes: a key that is not that of what stands under it, a request that leads
// elsewhere than the build that it names. Whether a build gives the bytes of its root nobody can tell without building.
func CheckCarried(x *parcel.Index) error {
	bad := func(r parcel.Record) error {
		return &parcel.DamagedError{What: fmt.Sprintf("the record %.16s in %s", r.Name, r.Folder)}
	}
	inputs, roots := map[cache.Digest]string{}, map[cache.Digest]bool{}
	made := map[cache.Digest]*carried{}
	for _, r := range x.Roots {
		roots[r.Digest] = true
	}
	for _, r := range x.Records {
		key := cache.Digest(r.Name)
		var c carried
		ok := key.Valid()
		switch {
		case r.Folder == "releases": // judged by its signature when it is kept
			_, err := readCarriedRelease(r)
			if ok = err == nil; ok {
				continue
			}
		case r.Folder == "inputs":
			ok = ok && cache.Sum([]byte(r.Text)) == key
			inputs[key] = r.Text
		case json.Unmarshal([]byte(r.Text), &c) != nil:
			ok = false
		case c.Kind == "" && c.Root == "": // a selection
			var of resolveInput
			ok = ok && json.Unmarshal([]byte(inputs[key]), &of) == nil && of.Kind == kindResolve
		default:
			ok = ok && roots[c.Root] && c.fits(key, []byte(inputs[key]), made)
			made[key] = &c
		}
		if !ok {
			return bad(r)
		}
	}
	return nil
}

// fits reports whether a record may stand under key, after those that it rests on. input is what the key is the digest of,
// if that is known.
func (c *carried) fits(key cache.Digest, input []byte, made map[cache.Digest]*carried) bool {
	switch c.Kind {
	case kindRoot:
		return c.Lock != nil && c.Lock.Validate() == nil && rootKey(c.Lock).Key == key && c.Info.HasLock() &&
			c.Info.Suite == c.Lock.Suite && c.Info.Arch == c.Lock.Arch && (c.Info.Unverified || !c.Lock.Unverified())
	case "import":
		return key == cache.Sum([]byte("import "+c.Root)) && c.Info.Imported != nil
	case "commit":
		return key == cache.Sum([]byte("commit "+c.Root)) && c.Info.Committed != nil
	case kindWitness:
		return key == witnessKey(c.Root, c.Key) && made[c.Key] != nil && made[c.Key].Root == c.Root
	case kindRequest:
		return made[c.Key] != nil && c.answers(input, made[c.Key])
	case kindChecked:
		asked := made[c.Request]
		return key == checkedKey(c.Request) && asked != nil && asked.Kind == kindRequest && asked.Root == c.Root
	}
	return false
}

// answers reports whether a build gives what a request asks for, as far as its lock tells: what was imported answers none,
// nor does a build with files or hooks that were not asked for.
func (c *carried) answers(request []byte, build *carried) bool {
	var in requestInput
	if json.Unmarshal(request, &in) != nil || in.Kind != kindRequest || build.Kind != kindRoot || build.Root != c.Root {
		return false
	}
	l := build.Lock
	return in.Suite == l.Suite && in.Arch == l.Arch && in.Variant == l.Variant &&
		slices.Equal(in.Added, addedInputs(l.Added)) && slices.Equal(in.Hooks, hookInputs(l.Hooks)) &&
		c.Info.HasLock() && c.Info.Suite == in.Suite && c.Info.Arch == in.Arch && c.Info.Variant == in.Variant &&
		(c.Info.Unverified || !l.Unverified())
}

// KeepCarried takes records into a cache in which their roots are. What leads to a root there already stays.
func KeepCarried(s *cache.Store, records []parcel.Record) error {
	for _, r := range records {
		key := cache.Digest(r.Name)
		switch r.Folder {
		case "inputs":
			if err := s.StoreInputs(key, []byte(r.Text)); err != nil {
				return err
			}
		case "actions":
			var there carried
			if ok, err := s.LoadAction(key, &there); err == nil && ok && (there.Root == "" || s.HasRoot(there.Root)) {
				continue
			}
			if err := s.StoreAction(key, json.RawMessage(r.Text)); err != nil {
				return err
			}
		}
	}
	return nil
}

// PlainRecord says whether a name that stands for a suite as released may be that of a root: info is what is recorded of
// it. It is the rule by which a build gives such names.
func PlainRecord(info Info, req Request) bool {
	return info.HasLock() && verified(info) && info.Suite == req.Suite.Codename && info.Variant == req.Variant &&
		len(info.Include)+len(info.Exclude) == 0 && len(info.Pockets) == 1
}

// InfoOf reads what is recorded of a root.
func InfoOf(ref cache.Ref) (i Info, err error) {
	if err := json.Unmarshal(ref.Info, &i); err != nil {
		return i, errors.Join(fmt.Errorf("read the record of root %s", ref.Root.Short()), err)
	}
	return i, nil
}
