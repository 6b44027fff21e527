package archive

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/fetch"
)

// Signed is a Release as it travels to another machine: what was signed, and where it was read.
type Signed struct {
	Mirror string `json:"mirror"` // without user and password
	Inline []byte `json:"inline,omitempty"`
	Text   []byte `json:"text,omitempty"`
	Sig    []byte `json:"sig,omitempty"`
}

// Check refuses what no Release can be.
func (s Signed) Check() error {
	n := len(s.Inline) + len(s.Text) + len(s.Sig)
	if n == 0 || n > maxRelease || (s.Inline != nil) == (s.Text != nil) || fetch.RedactURL(s.Mirror) != s.Mirror || strings.HasSuffix(s.Mirror, "/") {
		return errors.New("it is no Release as rootctl records one")
	}
	return checkMirror(s.Mirror)
}

// Carry finds the recorded Release of a pocket whose text has a digest, and the indices of it that o's components and
// architecture lead to. An error says what of it the store has not.
func Carry(o Options, pocket string, digest cache.Digest) (s Signed, indices []File, err error) {
	o.Pockets, o.Elsewhere = []string{pocket}, true
	a, err := prepare(o)
	if err != nil {
		return s, nil, err
	}
	p := a.Pockets[0]
	for _, c := range a.candidates(p) {
		r, err := a.verify(c.message, a.lenient(p, c.at))
		if err != nil || r.Digest != digest {
			continue
		}
		for _, comp := range a.o.Components {
			f, _, err := a.choose(p.Suite, r, comp+"/binary-"+a.o.Arch+"/Packages")
			if err != nil {
				return s, nil, err
			}
			if f.Size > 0 && !a.o.Store.HasDownload(f.SHA256, f.Size) {
				return s, nil, fmt.Errorf("%s of %s is not in the cache: %w", f.Path, p.Suite, ErrNotFound)
			}
			if f.Size > 0 {
				indices = append(indices, f)
			}
		}
		return Signed{strings.TrimRight(c.Mirror, "/"), c.message.Inline, c.message.Text, c.message.Sig}, indices, nil
	}
	return s, nil, fmt.Errorf("the Release of %s that it was chosen by is not in the cache: %w", p.Suite, ErrNotFound)
}

// Keep records a Release that came from another machine, as if it had been read here from its mirror: only one of that
// digest that o's keys have signed, of the pocket's suite and not of a later date than now. One that is as new stays.
// Nothing but what was signed is believed: not when it was checked there, and not how the mirror would know it again.
// refused is why it is not taken.
func Keep(o Options, pocket string, digest cache.Digest, s Signed) (refused, err error) {
	if err := s.Check(); err != nil {
		return err, nil
	}
	o.Pockets = []string{pocket}
	o.Mirrors, o.PocketMirrors, o.Moved = []string{s.Mirror}, map[string][]string{pocket: {s.Mirror}}, nil
	a, err := prepare(o)
	if err != nil {
		return nil, err
	}
	p := a.Pockets[0]
	m := message{Inline: s.Inline, Text: s.Text, Sig: s.Sig}
	r, err := a.verify(m, a.lenient(p, 0))
	if err != nil {
		return err, nil
	}
	if r.Digest != digest {
		return fmt.Errorf("it is another Release than it was sent as: %w", ErrNotTrusted), nil
	}
	var expired *Expired // is judged whenever it is used
	if err := a.judge(p.Suite, r, time.Time{}, a.lenient(p, 0)); err != nil && !errors.As(err, &expired) {
		return err, nil
	}
	rec := record{Schema: 1, Suite: p.Suite, Mirror: s.Mirror, Date: r.Date}
	return nil, a.store(p, s.Mirror, rec, m, func(there *record) bool { return there.Date.Before(r.Date) })
}

// store writes a record unless there is one that may not be replaced.
func (a *Archive) store(p *Pocket, mirror string, r record, m message, replace func(there *record) bool) error {
	r.Lengths = [3]int{len(m.Inline), len(m.Text), len(m.Sig)}
	head, err := json.Marshal(r)
	if err == nil {
		err = a.o.Store.StoreRelease(a.recordID(p, mirror), slices.Concat(head, []byte("\n"), m.Inline, m.Text, m.Sig), func(now []byte) bool {
			there := parseRecord(now, p.Suite)
			return there == nil || replace(there)
		})
	}
	if err != nil {
		return fmt.Errorf("record Release of %s: %w", p.Suite, err)
	}
	return nil
}
