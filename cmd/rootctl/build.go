package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
)

func newBuildCommand(a *app) *cobra.Command {
	var sel selection
	var tag, userns string
	var asJSON, layer bool
	c := &cobra.Command{
		Use:   "build [flags] SUITE[-VARIANT][:ARCH] | [NAME of rootctl.toml] | --lock FILE [NAME...]",
		Short: "make a root filesystem, or say that the cached one is current",
		Example: "  rootctl build bionic\n  rootctl build trixie-buildd\n" +
			"  rootctl build bookworm --include curl,ca-certificates --tag bookworm-curl\n" +
			"  rootctl build bionic --mirror http://mirror.example.org/ubuntu --pocket updates,security --tag bionic-new\n" +
			"  rootctl build --lock rootctl.lock bionic --tag ci\n" +
			"  rootctl build --file ci/rootctl.toml         # all roots of a recipe; ./rootctl.toml needs no naming",
		Args: args(sel.buildArgs),
		RunE: func(c *cobra.Command, names []string) error {
			if asJSON {
				a.quiet = true
			}
			if err := checkBuildUsers(userns, sel.noVerify); err != nil {
				return err
			}
			if err := seal(userns); err != nil {
				return fmt.Errorf("build: %w", err)
			}
			if sel.lockFile != "" {
				return a.buildLocked(c.Context(), &sel, lockedFlags{tag: tag, hostUsers: userns == "host", json: asJSON, remote: &sel.remoteFlags}, names)
			}
			if len(names) == 0 {
				return a.buildRecipe(c.Context(), &sel, recipeFlags{tag: tag, hostUsers: userns == "host", json: asJSON, layer: layer, remote: &sel.remoteFlags})
			}
			set, err := a.suites()
			if err != nil {
				return err
			}
			req, wrong := sel.request(a, set, names[0])
			if wrong != nil && !sel.asksFor(wrong) {
				return fileNamed(names[0], wrong)
			}
			store, err := a.openStore()
			if err != nil {
				return err
			}
			var done bool
			if done, a.enterErr = a.enterToMount(); done {
				return nil
			}
			if req, err = a.settle(c.Context(), store, &sel, set, names[0], req, wrong); err != nil {
				return err
			}
			b, err := a.build(c.Context(), store, req, buildOptions{tag: tag, hostUsers: userns == "host", remote: &sel.remoteFlags})
			if err != nil {
				return err
			}
			defer b.Lease.Close()
			if layer {
				if err := a.writeLayer(c.Context(), store, b); err != nil {
					return err
				}
			}
			if asJSON {
				return a.printJSON(newBuildReport(b))
			}
			a.closingLine(b)
			if b.name == "" && a.quiet {
				fmt.Fprintln(a.stdout, b.Root)
			}
			return nil
		},
	}
	c.Flags().SortFlags = false
	sel.register(c.Flags())
	sel.registerLock(c.Flags())
	sel.registerRemote(c.Flags())
	c.Flags().BoolVar(&sel.checkUpdates, "check-updates", false, "say how many packages have security updates: reads the security pocket's index")
	c.Flags().BoolVar(&sel.check, "check", false, "build it again, cached or not, and fail if it comes out otherwise")
	c.Flags().BoolVar(&layer, "write-layer", false, "pack the root as an image's layer at once: the first export does it else")
	c.Flags().StringVar(&tag, "tag", "", "`name` for the root (a plain suite's root is named after it)")
	c.Flags().StringVar(&userns, "userns", "own", "user namespace `mode` of maintainer scripts: own (root inside is nobody outside) or host")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object; with --lock or a recipe a list of them, unless one NAME is given")
	return c
}

// checkBuildUsers judges --userns: scripts that nobody signed never run as the host's root.
func checkBuildUsers(userns string, noVerify bool) error {
	if userns != "own" && userns != "host" {
		return withHint(&flagError{fmt.Errorf("unknown user namespace %q", userns)}, "--userns=own or --userns=host")
	}
	if userns == "host" && noVerify {
		return withHint(&flagError{errors.New("--userns=host with --no-verify would run scripts that nobody signed as the host's root")}, "drop one of the two")
	}
	return nil
}

// built is a result with the name it got in the cache, "" if none.
type built struct {
	*debootstrap.Result
	name   string
	remote string // why no root came from --cache-from, "" if none was named
}

// buildReport is build's --json object; its fields are an interface to scripts.
type buildReport struct {
	Lock       string                   `json:"lock,omitempty"` // its name in the lock file
	Name       string                   `json:"name"`
	Suite      string                   `json:"suite"`
	Arch       string                   `json:"arch"`
	Variant    string                   `json:"variant"`
	Digest     string                   `json:"digest"`
	Key        cache.Digest             `json:"key"`
	Cached     bool                     `json:"cached"`
	How        how                      `json:"how"` // cached, pulled or built
	Why        string                   `json:"why"`
	Packages   int                      `json:"packages"`
	Downloaded int64                    `json:"bytes_downloaded"`
	Mirror     string                   `json:"mirror"`
	Pockets    []debootstrap.InfoPocket `json:"pockets"`
	Updates    *debootstrap.InfoUpdates `json:"security_updates,omitempty"`
	Seconds    map[string]float64       `json:"seconds"`           // by stage
	Checked    bool                     `json:"checked,omitempty"` // built twice, and the same
	Unverified bool                     `json:"unverified"`
	Locked     bool                     `json:"locked,omitempty"` // by a lock file, and no verified archive has led to it
	Exceptions []string                 `json:"exceptions,omitempty"`
	Unchecked  *time.Time               `json:"not_checked_since,omitempty"`
}

func newBuildReport(b *built) buildReport {
	i := b.Info
	r := buildReport{Name: b.name, Suite: i.Suite, Arch: i.Arch, Variant: i.Variant, Digest: "sha256:" + string(b.Root), Key: b.Key,
		Cached: b.Cached, How: b.how(), Why: b.why(), Checked: b.Checked, Packages: i.Packages, Downloaded: b.Downloaded, Seconds: b.Seconds, Unverified: i.Unverified, Locked: i.Locked,
		Exceptions: i.Exceptions, Unchecked: b.Unchecked, Pockets: i.Pockets, Updates: i.Updates}
	if len(i.Pockets) > 0 {
		r.Mirror = i.Pockets[0].Mirror
	}
	return r
}

// closingLine says what was made, from where, and what to type next.
func (a *app) closingLine(b *built) {
	name := a.builtLine(b)
	if inRoot(b.Lease.Tree, "bash") {
		name += " bash"
	}
	a.say("next: %s run %s", a.typed(), name)
}

// builtLine says what was made and from where, and returns the name to go on with.
func (a *app) builtLine(b *built) (name string) {
	name, i := b.name, b.Info
	if name == "" {
		name = b.Root.Short()
	}
	what := "ready"
	if b.Cached {
		what = "cached"
	}
	a.say("%s is %s: %d packages, %s, %.1f s", name, what, i.Packages, bytesText(i.TarSize), b.Total().Seconds())
	if b.Checked {
		a.say("built twice from the same inputs: both are %s", b.Root.Short())
	}
	for _, p := range i.Pockets {
		from := "from " + p.Mirror
		if p.Mirror == "" {
			from = "locked"
		}
		a.say("%s: %s of %s", from, p.Suite, p.Date.UTC().Format(time.DateOnly))
	}
	if text := updatesText(i); text != "" {
		a.say("%s", text)
	}
	a.say("apt inside uses %s", i.Sources)
	for _, e := range a.remarks(i) {
		a.say("note: %s", e)
	}
	if i.Unverified {
		a.warn("UNVERIFIED: nobody's signature stands behind this root")
	}
	return name
}

// updatesText says how many packages the security pocket has newer, "" if that is not known.
func updatesText(i debootstrap.Info) string {
	u := i.Updates
	if u == nil {
		return ""
	}
	of := fmt.Sprintf("of %s", u.Date.UTC().Format(time.DateOnly))
	if u.Packages == 0 {
		return fmt.Sprintf("no package has a security update in %s %s", u.Suite, of)
	}
	return fmt.Sprintf("%d of %d packages have security updates in %s %s: --pocket updates,security", u.Packages, i.Packages, u.Suite, of)
}

// remarks are what was let pass for a root, and what time has made of its suite.
func (a *app) remarks(i debootstrap.Info) []string {
	out := slices.Clone(i.Exceptions)
	if end, err := time.Parse(time.DateOnly, i.EOL); err == nil && a.now().After(end) {
		out = append(out, fmt.Sprintf("%s is past its end of life (%s): nobody mends its packages any more", i.Suite, i.EOL))
	}
	return out
}

// stageTimes lists the stages of a build with their seconds, longest first, for the log.
func stageTimes(seconds map[string]float64) string {
	keys := slices.SortedFunc(maps.Keys(seconds), func(x, y string) int {
		if seconds[x] > seconds[y] {
			return -1
		}
		return 1
	})
	var parts []string
	for _, k := range keys {
		parts = append(parts, fmt.Sprintf("%s %.2f", k, seconds[k]))
	}
	return strings.Join(parts, ", ")
}
