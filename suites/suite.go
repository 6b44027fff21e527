// Package suites knows the Debian and Ubuntu suites: where they are, who signs them, and how a root
// of each is made. The knowledge is data, one TOML file per suite.
package suites

import (
	"net/url"
	"slices"
	"strings"
	"time"
)

// Suite is one release of a distribution.
type Suite struct {
	Codename   string              `toml:"codename" json:"codename"`
	Aliases    []string            `toml:"aliases" json:"aliases,omitempty"`
	Role       string              `toml:"role" json:"role,omitempty"` // "stable", ...: until the archive says otherwise
	Family     string              `toml:"family" json:"family"`       // "debian" or "ubuntu"
	Version    string              `toml:"version" json:"version,omitempty"`
	Title      string              `toml:"title" json:"title"`
	EOL        string              `toml:"eol" json:"eol,omitempty"` // YYYY-MM-DD, "" when not set
	Archived   bool                `toml:"archived" json:"archived,omitempty"`
	Mirrors    map[string][]string `toml:"mirrors" json:"mirrors"`                           // by architecture, or "default"
	Archives   map[string][]string `toml:"archive-mirrors" json:"archive_mirrors,omitempty"` // where it goes when it is archived
	Snapshot   string              `toml:"snapshot" json:"snapshot,omitempty"`               // of the archive's past: a URL with {archive} and {time}
	Components []string            `toml:"components" json:"components"`
	Keyrings   []string            `toml:"keyrings" json:"keyrings"` // files in keyrings/
	Pockets    []Pocket            `toml:"pockets" json:"pockets,omitempty"`
	Rules      Rules               `toml:"rules" json:"rules"`
}

// Pocket is a further suite that updates a released one.
type Pocket struct {
	Name     string              `toml:"name" json:"name"`
	Suite    string              `toml:"suite" json:"suite"`
	Mirrors  map[string][]string `toml:"mirrors" json:"mirrors,omitempty"`                 // nil: the suite's
	Archives map[string][]string `toml:"archive-mirrors" json:"archive_mirrors,omitempty"` // nil: the suite's
}

// Rules say where the making of a root differs between suites. Variants are named as debootstrap
// names them; "-" is its default, and "*" means all.
type Rules struct {
	Merged              string   `toml:"merged" json:"merged"`                                       // "yes" or "no": /bin is a link into /usr
	UnmergedVariants    []string `toml:"unmerged-variants" json:"unmerged_variants,omitempty"`       // although Merged
	StagedVariants      []string `toml:"staged-variants" json:"staged_variants,omitempty"`           // configured in stages
	ExtraRequired       []string `toml:"extra-required" json:"extra_required,omitempty"`             // beside Priority: required
	DropDepends         []string `toml:"drop-depends" json:"drop_depends,omitempty"`                 // never followed as a dependency
	HTTPSPackages       []string `toml:"https-packages" json:"https_packages,omitempty"`             // when sources.list has an https line
	RootOrderMod        uint32   `toml:"root-order-mod" json:"root_order_mod"`                       // dpkg's hash table: 8191 up to 1.19, else 65521
	LastRequiredDirMode bool     `toml:"last-required-dir-mode" json:"last_required_dir_mode"`       // of disagreeing modes, the last required package's
	Devfsd              bool     `toml:"devfsd" json:"devfsd,omitempty"`                             // a char node at /dev/.devfsd stops makedev's postinst
	DeviceTable         string   `toml:"device-table" json:"device_table,omitempty"`                 // "" standard nodes, else makedev's of that suite
	Initctl             bool     `toml:"initctl" json:"initctl,omitempty"`                           // stub initctl, where present
	SkipUsrmergeMarker  bool     `toml:"skip-usrmerge-marker" json:"skip_usrmerge_marker,omitempty"` // in unmerged roots: etc/unsupported-skip-usrmerge-conversion
}

// MirrorsFor returns the suite's public mirrors for arch.
func (s Suite) MirrorsFor(arch string) []string { return byArch(s.Mirrors, arch) }

// ArchivesFor returns the hosts that hold the suite for arch once it is archived.
func (s Suite) ArchivesFor(arch string) []string { return byArch(s.Archives, arch) }

// SnapshotLayout is how {time} stands in a snapshot service's URL.
const SnapshotLayout = "20060102T150405Z"

// SnapshotURL is the mirror that a snapshot service's pattern names for a pocket as of a time, "" if
// the pocket's public mirrors do not tell what it calls the archive. A pocket got from Suite.Pocket is wanted.
func (s Suite) SnapshotURL(pattern string, p Pocket, arch string, at time.Time) string {
	live := p.MirrorsFor(arch)
	if len(live) == 0 {
		live = s.MirrorsFor(arch)
	}
	if pattern == "" || len(live) == 0 {
		return ""
	}
	u, err := url.Parse(live[0])
	if err != nil {
		return ""
	}
	name := strings.Trim(u.Path, "/")
	name = name[strings.LastIndexByte(name, '/')+1:]
	if name == "" && strings.Contains(pattern, "{archive}") {
		return ""
	}
	return strings.NewReplacer("{archive}", name, "{time}", at.UTC().Format(SnapshotLayout)).Replace(strings.TrimRight(pattern, "/"))
}

// Hosts returns the public mirrors to ask for a pocket, and those to ask when these have it not: an
// archived suite may still be, or be again, on the live mirrors, and a live one may have been archived.
// A pocket got from Suite.Pocket is wanted.
func (s Suite) Hosts(p Pocket, arch string) (first, others []string) {
	live, archives := p.MirrorsFor(arch), p.ArchivesFor(arch)
	if len(live) == 0 {
		live = s.MirrorsFor(arch)
	}
	switch {
	case s.Archived && len(archives) > 0:
		return archives, live
	case len(live) == 0:
		return archives, nil
	}
	return live, archives
}

// Pocket returns the named pocket; "release" is the suite itself.
func (s Suite) Pocket(name string) (Pocket, bool) {
	if name == "release" {
		return Pocket{Name: name, Suite: s.Codename, Mirrors: s.Mirrors, Archives: s.Archives}, true
	}
	for _, p := range s.Pockets {
		if p.Name == name {
			if p.Mirrors == nil {
				p.Mirrors = s.Mirrors
			}
			if p.Archives == nil {
				p.Archives = s.Archives
			}
			return p, true
		}
	}
	return Pocket{}, false
}

// MirrorsFor returns the pocket's public mirrors for arch. A pocket got from Suite.Pocket has them filled in.
func (p Pocket) MirrorsFor(arch string) []string { return byArch(p.Mirrors, arch) }

// ArchivesFor returns the hosts that hold the pocket for arch once it is archived.
func (p Pocket) ArchivesFor(arch string) []string { return byArch(p.Archives, arch) }

// Ended says whether the suite's EOL lies before now.
func (s Suite) Ended(now time.Time) bool {
	return s.EOL != "" && now.UTC().Format(time.DateOnly) > s.EOL
}

// MergedFor says whether a root of this variant has /bin, /sbin and /lib as links into /usr.
func (r Rules) MergedFor(variant string) bool {
	return r.Merged == "yes" && !holds(r.UnmergedVariants, variant)
}

// StagedFor says whether a root of this variant is configured in stages.
func (r Rules) StagedFor(variant string) bool { return holds(r.StagedVariants, variant) }

func holds(variants []string, v string) bool {
	return slices.Contains(variants, "*") || slices.Contains(variants, v)
}

// Names are all names the suite goes by: its codename, its role, its aliases.
func (s Suite) Names() []string {
	names := []string{s.Codename}
	if s.Role != "" {
		names = append(names, s.Role)
	}
	return append(names, s.Aliases...)
}

func byArch(m map[string][]string, arch string) []string {
	if l, ok := m[arch]; ok {
		return l
	}
	return m["default"]
}
