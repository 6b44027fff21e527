package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/suites"
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
	Locked     bool                     `json:"locked,omitempty"`   // by a lock file, and no verified archive has led to it
	Imported   bool                     `json:"imported,omitempty"` // what it says of itself is not checked
}

func newLsCommand(a *app) *cobra.Command {
	var asJSON, digests bool
	c := &cobra.Command{
		Use:     "ls",
		Short:   "list the roots in the cache",
		Example: "  rootctl ls\n  rootctl ls --json",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			store, err := a.openStore()
			if err != nil {
				return err
			}
			if asJSON {
				rows, err := a.listRoots(store)
				if err != nil {
					return err
				}
				return a.printJSON(rows)
			}
			return a.printRoots(store, digests)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&digests, "digests", false, "print whole digests")
	return c
}

// printRoots prints the list for people.
func (a *app) printRoots(store *cache.Store, digests bool) error {
	listed, err := listing(store)
	if err != nil {
		return err
	}
	if len(listed) == 0 {
		a.say("the cache is empty; next: rootctl build bionic")
		return nil
	}
	inUse := store.InUse(listed)
	lines := make([][]string, 0, len(listed)+1)
	lines = append(lines, []string{"NAME", "DIGEST", "SUITE", "VARIANT", "ARCH", "PACKAGES", "SIZE", "POCKETS", "NOTE"})
	cells := make([]string, len(listed)*9)
	for i, l := range listed {
		c := cells[i*9 : i*9 : i*9+9]
		d := string(l.Root)
		if !digests {
			d = l.Root.Short()
		}
		c = append(c, orDash(l.Name), d)
		text, _ := cutRow(l.Row)
		for range 6 {
			var cell string
			cell, text, _ = strings.Cut(text, "\t")
			c = append(c, cell)
		}
		if inUse[i] {
			text = strings.TrimPrefix(text+", in use", ", ")
		}
		lines = append(lines, append(c, text))
	}
	_, err = a.stdout.Write(setColumns(lines))
	return err
}

// setColumns sets a table, two spaces between its columns, as text/tabwriter would in ten times the time.
func setColumns(lines [][]string) []byte {
	width, size := make([]int, len(lines[0])), 0
	for _, cells := range lines {
		for i, c := range cells {
			width[i] = max(width[i], utf8.RuneCountInString(c)+2)
			size += len(c)
		}
	}
	const spaces = "                                                                                "
	out := make([]byte, 0, 2*size)
	for _, cells := range lines {
		for i, c := range cells {
			out = append(out, c...)
			if i < len(cells)-1 {
				for pad := width[i] - utf8.RuneCountInString(c); pad > 0; pad -= len(spaces) {
					out = append(out, spaces[:min(pad, len(spaces))]...)
				}
			}
		}
		out = append(out, '\n')
	}
	return out
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

// listRoots lists every name whose root is there, then the roots without a name.
func (a *app) listRoots(store *cache.Store) ([]lsRow, error) {
	listed, err := listing(store)
	if err != nil {
		return nil, err
	}
	set, err := a.suites()
	if err != nil {
		a.log().Debug("the suites' names are not known", "error", err) // a list is worth more
	}
	names := make(map[cache.Digest][]string, len(listed))
	for _, l := range listed {
		if l.Name != "" {
			names[l.Root] = append(names[l.Root], l.Name)
		}
	}
	uses := store.Uses(listed)
	rows := make([]lsRow, len(listed))
	for i, l := range listed {
		row := &rows[i]
		_, text := cutRow(l.Row)
		if err := json.Unmarshal([]byte(text), row); err != nil {
			return nil, fmt.Errorf("list roots: %w", err)
		}
		row.Names, row.DiskSize, row.Used, row.InUse = append([]string{}, names[l.Root]...), l.Bytes, uses[i].Used.UTC().Truncate(time.Second), uses[i].InUse
		row.Tags = slices.DeleteFunc(slices.Clone(row.Names), func(name string) bool { return isPlainName(set, name) })
	}
	return rows, nil
}

// listing brings the cache's listing up to date.
func listing(store *cache.Store) ([]cache.Listed, error) {
	tag := fmt.Sprintf("2 %#v", lsRow{}) // another one when the fields of a row, or what is printed of them, change
	return store.Listing(tag, func(r cache.Ref) (string, error) {
		row := rowOf(r)
		b, err := json.Marshal(row)
		return row.text() + "\x00" + string(b), err
	})
}

// cutRow takes apart what the listing has of a root: cells for people, and JSON.
func cutRow(row string) (text, json string) {
	text, json, _ = strings.Cut(row, "\x00")
	return text, json
}

// text is what people are shown of a root from the third column on.
func (r lsRow) text() string {
	cells := []string{r.Suite, r.Variant, r.Arch, strconv.Itoa(r.Packages), bytesText(r.Size), pocketDates(r.Pockets), r.note()}
	for i, c := range cells {
		cells[i] = strings.NewReplacer("\n", " ", "\t", " ").Replace(printable(c))
	}
	return strings.Join(cells, "\t")
}

// isPlainName says whether a name always means a suite, so that no tag can be it.
func isPlainName(set *suites.Set, name string) bool {
	if set == nil || !set.Has(suiteWord(set, name)) { // for an unknown one parseName would look for near names
		return false
	}
	req, err := parseName(set, name)
	return err == nil && req.Name(hostArch()) == name
}

func rowOf(r cache.Ref) lsRow {
	row := lsRow{Name: r.Name, Digest: "sha256:" + string(r.Root), Key: string(r.Key)}
	var i debootstrap.Info
	if json.Unmarshal(r.Info, &i) != nil {
		return row // a record of another version: the digest is all that is sure
	}
	row.Suite, row.Variant, row.Arch, row.Packages = i.Suite, i.Variant, i.Arch, i.Packages
	row.Size, row.Built, row.Unverified, row.Locked = i.TarSize, i.Built, i.Unverified, i.Locked
	row.Imported = i.Imported != nil
	row.Pockets, row.Updates = i.Pockets, i.Updates
	for _, p := range i.Pockets {
		if p.Date.After(row.Date) {
			row.Date = p.Date
		}
	}
	return row
}
