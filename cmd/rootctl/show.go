package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/debootstrap/unpack"
)

// shown is what show prints, as JSON or as text.
type shown struct {
	Name   string `json:"name,omitempty"`
	Digest string `json:"digest"`
	Key    string `json:"key"`
	Tree   string `json:"tree"` // the unpacked root; never to be written to
	debootstrap.Info
	Files        []string       `json:"files,omitempty"` // a recipe's, also of the roots that it extends
	Hooks        []shownHook    `json:"hooks,omitempty"`
	DownloadSize int64          `json:"download_size"` // bytes of the .debs
	List         []shownPackage `json:"package_list"`
}

type shownPackage struct {
	Name    string       `json:"name"`
	Version string       `json:"version"`
	Arch    string       `json:"arch"`
	Pocket  string       `json:"pocket"`
	SHA256  cache.Digest `json:"sha256"`
}

// shownHook is a recipe's script that made the root what its packages alone do not.
type shownHook struct {
	When    string       `json:"when"`
	Name    string       `json:"name"`
	Network string       `json:"network"`
	SHA256  cache.Digest `json:"sha256"`
}

func newShowCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "show NAME",
		Short:   "say what a root holds, where it came from and who signed it",
		Example: "  rootctl show bionic\n  rootctl show --json 0bce22afc379",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, names []string) error {
			store, ref, err := a.find("show", names[0])
			if err != nil {
				return err
			}
			s, err := newShown(store, ref)
			if err != nil {
				return fmt.Errorf("show %s: %w", names[0], err)
			}
			if asJSON {
				return a.printJSON(s)
			}
			return a.printShown(s)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func newShown(store *cache.Store, ref cache.Ref) (shown, error) {
	s := shown{Name: ref.Name, Digest: "sha256:" + string(ref.Root), Key: string(ref.Key), Tree: filepath.Join(store.Dir(), "roots", string(ref.Root))}
	if err := json.Unmarshal(ref.Info, &s.Info); err != nil {
		return s, fmt.Errorf("read its record: %w", err)
	}
	if !s.HasLock() {
		return s, s.listImported()
	}
	lock, err := debootstrap.LockOfRoot(store, ref)
	if err != nil {
		return s, err
	}
	for _, p := range lock.Packages {
		s.DownloadSize += p.Size
		s.List = append(s.List, shownPackage{p.Name, p.Version, p.Arch, p.Pocket, p.SHA256})
	}
	slices.SortFunc(s.List, func(x, y shownPackage) int { return strings.Compare(x.Name, y.Name) })
	s.addRecipe(lock)
	return s, nil
}

// addRecipe lists what a recipe added, below it first.
func (s *shown) addRecipe(l *debootstrap.Lock) {
	if l.Parent != nil {
		s.addRecipe(l.Parent)
	}
	for _, f := range l.Added {
		s.Files = append(s.Files, f.Path)
	}
	for _, h := range l.Hooks {
		s.Hooks = append(s.Hooks, shownHook{h.When, h.Name, h.Network, cache.Sum(h.Script)})
	}
}

// listImported lists the packages of a root that has no Lock: by its own database.
func (s *shown) listImported() error {
	t, err := unpack.Open(s.Tree)
	if err != nil {
		return err
	}
	defer t.Close()
	s.List = packagesIn(t)
	slices.SortFunc(s.List, func(x, y shownPackage) int { return strings.Compare(x.Name, y.Name) })
	return nil
}

func (a *app) printShown(s shown) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	row := func(k, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", k, oneLine(fmt.Sprintf(format, args...)))
	}
	row("name", "%s", orDash(s.Name))
	row("digest", "%s", s.Digest)
	row("key", "%s", s.Key)
	if i := s.Imported; i != nil {
		row("imported", "from %s (%s), %s", i.From, i.Format, i.Time.Format(time.RFC3339))
		row("signed by", "not known: nobody's signature was checked; what follows is the root's own word")
		if i.Image != "" {
			row("image", "%s", i.Image)
		}
		if i.Key != "" {
			row("image's key", "%s", i.Key)
		}
	}
	if c := s.Committed; c != nil {
		row("committed", "from container %s, %s", c.Container, c.Time.Format(time.RFC3339))
		row("made over", "%s (%s)", c.Parent, orDash(c.Name))
		row("signed by", "not known: the container could change all of it; what follows is the root's own word")
	}
	if s.Pulled != "" {
		row("pulled", "from %s, where another machine that built it by this key had put it", s.Pulled)
	}
	row("suite", "%s (%s)", s.Suite, s.Title)
	row("variant", "%s", orDash(s.Variant))
	row("arch", "%s", s.Arch)
	row("components", "%s", orDash(strings.Join(s.Components, " ")))
	if len(s.Include) > 0 {
		row("include", "%s", strings.Join(s.Include, " "))
	}
	if len(s.Exclude) > 0 {
		row("exclude", "%s", strings.Join(s.Exclude, " "))
	}
	if s.Extends != "" {
		row("extends", "%s", s.Extends.Short())
	}
	for _, f := range s.Files {
		row("file", "%s", f)
	}
	for _, h := range s.Hooks {
		with := ""
		if h.Network != "" && h.Network != "none" {
			with = ", with network " + h.Network
		}
		row("hook", "%s, %s%s", h.When, h.Name, with)
	}
	for _, p := range s.Pockets {
		from := "from " + p.Mirror
		if p.Mirror == "" {
			from = "by a lock file"
		}
		row("pocket", "%s, %s of %s, %s", p.Name, p.Suite, p.Date.UTC().Format(time.RFC3339), from)
		for _, by := range p.Signers {
			row("signed by", "%s", by)
		}
	}
	if text := updatesText(s.Info); text != "" {
		row("updates", "%s", text)
	}
	if s.Unverified {
		row("signed by", "UNVERIFIED: built with --no-verify")
	}
	if s.Locked {
		row("locked", "a lock file named the packages and says who signed the archive: nobody has checked that here")
	}
	for _, e := range a.remarks(s.Info) {
		row("note", "%s", e)
	}
	for _, e := range s.Warnings {
		row("warning", "%s", e)
	}
	if !s.HasLock() {
		row("size", "%s as a tar", bytesText(s.TarSize))
	} else {
		row("apt uses", "%s", s.Sources)
		row("size", "%s as a tar, %s downloaded", bytesText(s.TarSize), bytesText(s.DownloadSize))
		row("built", "%s", s.Built.UTC().Format(time.RFC3339))
	}
	row("packages", "%d", len(s.List))
	for _, p := range s.List {
		row("", "%s %s %s", p.Name, p.Version, p.Arch)
	}
	return w.Flush()
}
