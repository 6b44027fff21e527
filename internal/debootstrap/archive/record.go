package archive

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/fetch"
)

// restamp is how old a record's time of checking may become before it is written anew.
const restamp = time.Hour

// record is the last verified Release of a source, in releases/: this header as a line of JSON, then
// the message. It holds rollbacks off and makes requests conditional.
type record struct {
	Schema     int              `json:"schema"`
	Suite      string           `json:"suite"`
	Mirror     string           `json:"mirror"` // without user and password
	Date       time.Time        `json:"date"`
	Checked    time.Time        `json:"checked"`
	Validators fetch.Validators `json:"validators"`
	Lengths    [3]int           `json:"lengths"` // of Inline, Text and Sig

	message message
}

// recordID names a source, by a mirror without a slash at the end: the suite's own mirrors are one, any other is one by itself.
func (a *Archive) recordID(p *Pocket, mirror string) string {
	id := strings.ReplaceAll(p.Suite, "/", "_")
	if !a.o.At.IsZero() { // a date of the past says nothing of what the archive has now
		return id + "-at-" + string(cache.Sum([]byte(mirror)))[:16]
	}
	own, _ := a.o.Suite.Pocket(p.Name)
	isOwn := func(u string) bool { return strings.TrimRight(u, "/") == mirror }
	if !slices.ContainsFunc(slices.Concat(own.MirrorsFor(a.o.Arch), own.ArchivesFor(a.o.Arch)), isOwn) {
		id += "-" + string(cache.Sum([]byte(mirror)))[:16]
	}
	return id
}

// load reads the record of a source, nil when there is none that makes sense.
func (a *Archive) load(p *Pocket, mirror string) *record {
	b, err := a.o.Store.LoadRelease(a.recordID(p, mirror))
	if err != nil {
		return nil
	}
	return parseRecord(b, p.Suite)
}

func parseRecord(b []byte, suite string) *record {
	head, body, ok := bytes.Cut(b, []byte("\n"))
	var r record
	if !ok || json.Unmarshal(head, &r) != nil || r.Schema != 1 || r.Suite != suite {
		return nil
	}
	for i, dst := range []*[]byte{&r.message.Inline, &r.message.Text, &r.message.Sig} {
		n := r.Lengths[i]
		if n < 0 || n > len(body) {
			return nil
		}
		if n > 0 {
			*dst, body = body[:n:n], body[n:]
		}
	}
	return &r
}

// save records a verified Release. What has not changed is not written again within the hour.
func (a *Archive) save(p *Pocket, mirror string, m message, v fetch.Validators, date time.Time, old *record) error {
	if a.o.Store.ReadOnly() {
		return nil
	}
	r := record{
		Schema: 1, Suite: p.Suite, Mirror: fetch.RedactURL(mirror), Date: date, Checked: a.o.Now().UTC(), Validators: v,
	}
	if old != nil && old.message.equal(m) && old.Mirror == r.Mirror && old.Validators == v && r.Checked.Sub(old.Checked).Abs() < restamp {
		return nil
	}
	// Another process may have seen a newer one since ours was judged: that one stays.
	return a.store(p, mirror, r, m, func(there *record) bool { return a.o.AllowOlder || !there.Date.After(date) })
}

func (m message) equal(o message) bool {
	return bytes.Equal(m.Inline, o.Inline) && bytes.Equal(m.Text, o.Text) && bytes.Equal(m.Sig, o.Sig)
}

// offline adds what is known from before to an error that means that no mirror answered.
func (a *Archive) offline(p *Pocket, err error) error {
	o := &Offline{Suite: p.Suite, Err: err}
	for _, m := range p.mirrors {
		if r := a.load(p, m); r != nil && r.Date.After(o.Date) {
			o.Date, o.Checked = r.Date, r.Checked
		}
	}
	return o
}
