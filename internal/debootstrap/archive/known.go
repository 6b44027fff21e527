package archive

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/fetch"
)

// lateness is by how much a mirror's InRelease may be newer, as a file, than its signed Date. What another machine says of
// how the mirror would know the file again is believed within that: whoever gives out an older Release as one that has
// not changed since can hide no newer one than that.
const lateness = 3 * time.Hour

// A Known is a verified InRelease for machines that have none yet, under the name by which Options.Known is asked for it.
type Known struct {
	Name cache.Digest
	Text []byte
}

func knownName(suite, mirror string) cache.Digest {
	return cache.Sum([]byte("release\n" + suite + "\n" + mirror))
}

// KnownAt is the recorded InRelease of a suite (bionic-updates) at a mirror, written without user and password; ok is
// false if there is none that a request could be made conditional by.
func KnownAt(s *cache.Store, suite, mirror string) (k Known, ok bool) {
	ids, err := s.Releases()
	if err != nil {
		return k, false
	}
	for _, id := range ids {
		if rest, ok := strings.CutPrefix(id, strings.ReplaceAll(suite, "/", "_")); !ok || rest != "" && !sourceSuffix(rest) {
			continue
		}
		b, err := s.LoadRelease(id)
		if err != nil {
			continue
		}
		r := parseRecord(b, suite)
		if r == nil || r.Mirror != mirror || r.message.Inline == nil || r.Validators.LastModified == "" {
			continue
		}
		m := r.message.Inline
		head, err := json.Marshal(record{Schema: 1, Suite: suite, Mirror: mirror, Lengths: [3]int{len(m)},
			Validators: fetch.Validators{LastModified: r.Validators.LastModified}})
		if err != nil {
			continue
		}
		return Known{knownName(suite, mirror), slices.Concat(head, []byte("\n"), m)}, true
	}
	return k, false
}

// known is a Release of p that another machine has recorded, for a first request to be conditional. Nothing is believed of
// it but what the keys have signed, and within bounds the time by which the mirror is to know it again. It is used if
// the mirror says that its own is no newer, and holds no rollback off.
func (a *Archive) known(ctx context.Context, p *Pocket, i int) *record {
	mirror := p.mirrors[i]
	if a.o.Known == nil || !a.o.At.IsZero() || !strings.HasPrefix(mirror, "http") {
		return nil
	}
	mirror = fetch.RedactURL(mirror)
	text := a.o.Known(ctx, knownName(p.Suite, mirror))
	if text == nil {
		return nil
	}
	r := parseRecord(text, p.Suite)
	if r == nil || r.Mirror != mirror || r.message.Inline == nil {
		a.o.Log.Debug("what the remote cache has of the Release makes no sense", "suite", p.Suite)
		return nil
	}
	m := message{Inline: r.message.Inline}
	rel, err := a.verify(m, a.lenient(p, i))
	if err == nil {
		err = a.judge(p.Suite, rel, time.Time{}, a.lenient(p, i))
	}
	var at time.Time
	if err == nil {
		at, err = http.ParseTime(r.Validators.LastModified)
	}
	if err == nil && (at.Before(rel.Date) || at.After(rel.Date.Add(lateness))) {
		err = errors.New("its time does not fit what was signed")
	}
	if err != nil {
		a.o.Log.Debug("the remote cache's Release is not used", "suite", p.Suite, "error", err)
		return nil
	}
	return &record{Suite: p.Suite, Mirror: mirror, Validators: fetch.Validators{LastModified: at.UTC().Format(http.TimeFormat)}, message: m}
}
