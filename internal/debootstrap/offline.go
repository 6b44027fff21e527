package debootstrap

import (
	"context"
	"errors"
	"fmt"

	"github.com/rootctl/rootctl/internal/debootstrap/archive"
)

// fromCache answers offline: with the root that the request led to last, else with one made of the
// indices and packages that are there.
func (j *job) fromCache(ctx context.Context) (*Result, error) {
	res, err := j.fromLast(ctx, nil)
	var miss *offlineMiss
	if !errors.As(err, &miss) {
		return res, err
	}
	ar, err := j.atHand()
	if err != nil {
		return nil, err
	}
	return j.fromArchive(ctx, ar)
}

// atHand opens the archive as it was read last; the error is *Missing, or a wrong request's.
func (j *job) atHand() (*archive.Archive, error) {
	o, err := j.archiveOptions(j.req.Pockets)
	if err != nil {
		return nil, err
	}
	ar, lacks, err := archive.Recorded(o)
	if err != nil {
		return nil, err
	}
	ar, more, err := j.besideAtHand(ar)
	if err != nil {
		return nil, err
	}
	if lacks = append(lacks, more...); len(lacks) == 0 {
		return ar, nil
	}
	m := &Missing{What: fmt.Sprintf("a root of this request (suite %s and these flags) and the indices to choose its packages by", j.req.Suite.Codename),
		Next: "run it once without --offline, or see rootctl ls for what there is"}
	for _, l := range lacks {
		item := MissingItem{Name: l.Name, Size: l.Size}
		if l.Why != nil {
			item.Name += " (" + l.Why.Error() + ")"
		}
		m.Items = append(m.Items, item)
	}
	return nil, m
}

// missing lists the packages of a Lock that would have to be fetched, nil if there are none.
func (j *job) missing(l *Lock) error {
	m := &Missing{What: "packages", Of: len(l.Packages), Next: "run it once without --offline"}
	for _, p := range l.fresh() {
		if !j.Store.HasDownload(p.SHA256, p.Size) {
			m.Items = append(m.Items, MissingItem{p.Name + " " + p.Version, p.Path, p.Size})
		}
	}
	if m.Items == nil {
		return nil
	}
	return m
}

// nowhere is where packages come from offline: one that turns out damaged is missing.
type nowhere struct{ of int }

func (n nowhere) Fetch(_ context.Context, _ string, f archive.File) error {
	return &Missing{What: "packages", Of: n.of, Items: []MissingItem{{f.Path + " (damaged)", f.Path, f.Size}}, Next: "run it once without --offline"}
}

// verified says whether the record of a root says that an archive whose signatures were checked led to it.
func verified(i Info) bool { return !i.Unverified && !i.Locked }
