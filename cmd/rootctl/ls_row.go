package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
)

// lsRow is one name, or one root without any; its fields are an interface to scripts.
type lsRow struct {
	Name       string                   `json:"name"` // "" for a root nobody named
	Digest     string                   `json:"digest"`
	Key        string                   `json:"key"`       // under which it was built last (K2), "" if that is not known
	Names      []string                 `json:"names"`     // all names of this root
	Tags       []string                 `json:"tags"`      // those of them that are no suite's own
	DiskSize   int64                    `json:"disk_size"` // bytes unpacked, to about a fiftieth
	Used       time.Time                `json:"last_used"` // give or take an hour
	InUse      bool                     `json:"in_use"`    // by a run, build or export this moment
	Suite      string                   `json:"suite"`
	Variant    string                   `json:"variant"`
	Arch       string                   `json:"arch"`
	Packages   int                      `json:"packages"`
	Size       int64                    `json:"tar_size"` // bytes of the canonical tar
	Date       time.Time                `json:"date"`     // of the newest pocket
	Pockets    []debootstrap.InfoPocket `json:"pockets"`
	Updates    *debootstrap.InfoUpdates `json:"security_updates,omitempty"`
	Built      time.Time                `json:"built"`
	Unverified bool                     `json:"unverified"`
	Locked     bool                     `json:"locked,omitempty"`    // by a lock file, and no verified archive has led to it
	Imported   bool                     `json:"imported,omitempty"`  // what it says of itself is not checked
	Committed  bool                     `json:"committed,omitempty"` // as little is that of one made in a container
}

// note is what a reader of the list should know of a root.
func (r lsRow) note() string {
	var notes []string
	if r.Unverified {
		notes = append(notes, "UNVERIFIED")
	}
	if r.Locked {
		notes = append(notes, "by a lock file")
	}
	if r.Imported {
		notes = append(notes, "imported")
	}
	if r.Committed {
		notes = append(notes, "committed")
	}
	if u := r.Updates; u != nil && u.Packages > 0 {
		notes = append(notes, fmt.Sprintf("%d security updates as of %s", u.Packages, u.Date.UTC().Format(time.DateOnly)))
	}
	return strings.Join(notes, ", ")
}

// pocketDates names each pocket and the date of its Release.
func pocketDates(pockets []debootstrap.InfoPocket) string {
	var parts []string
	for _, p := range pockets {
		parts = append(parts, p.Name+" "+p.Date.UTC().Format(time.DateOnly))
	}
	return orDash(strings.Join(parts, ", "))
}

// In the listing a row is the cells for people, and what JSON has before and after the fields that change; its line ends
// are another letter, which JSON has none of.
const (
	rowSep  = "\x00"
	rowLine = "\x01"
)

// listing brings the cache's listing up to date.
func listing(store *cache.Store) ([]cache.Listed, error) {
	tag := fmt.Sprintf("4 %#v", lsRow{}) // another one when the fields of a row, or what is printed of them, change
	return store.Listing(tag, func(r cache.Ref) (string, error) {
		row := rowOf(r)
		before, after, err := row.fixed()
		return row.text() + rowSep + before + rowSep + after, err
	})
}

// fixed is the row as printed, without the fields that are not the record's.
func (r lsRow) fixed() (before, after string, err error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("  ", "  ")
	if err := e.Encode(r); err != nil {
		return "", "", err
	}
	text := "  " + strings.TrimSuffix(b.String(), "\n")
	begin, end := strings.Index(text, "\n    \"names\": ")+1, strings.Index(text, "\n    \"suite\": ")+1
	line := strings.NewReplacer("\n", rowLine)
	return line.Replace(text[:begin]), line.Replace(text[end:]), nil
}

// text is what people are shown of a root from the third column on.
func (r lsRow) text() string {
	cells := []string{orDash(r.Suite), orDash(r.Variant), orDash(r.Arch), strconv.Itoa(r.Packages), bytesText(r.Size), pocketDates(r.Pockets), r.note()}
	for i, c := range cells {
		cells[i] = strings.NewReplacer("\n", " ", "\t", " ").Replace(printable(c))
	}
	return strings.Join(cells, "\t")
}

func rowOf(r cache.Ref) lsRow {
	row := lsRow{Name: r.Name, Digest: "sha256:" + string(r.Root), Key: string(r.Key)}
	var i debootstrap.Info
	if json.Unmarshal(r.Info, &i) != nil {
		return row // a record of another version: the digest is all that is sure
	}
	row.Suite, row.Variant, row.Arch, row.Packages = i.Suite, i.Variant, i.Arch, i.Packages
	row.Size, row.Built, row.Unverified, row.Locked = i.TarSize, i.Built, i.Unverified, i.Locked
	row.Imported, row.Committed = i.Imported != nil, i.Committed != nil
	row.Pockets, row.Updates = i.Pockets, i.Updates
	for _, p := range i.Pockets {
		if p.Date.After(row.Date) {
			row.Date = p.Date
		}
	}
	return row
}
