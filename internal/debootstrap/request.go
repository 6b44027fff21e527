package debootstrap

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/resolve"
	"github.com/rootctl/rootctl/suites"
)

// Request says which root is wanted. The zero value of all but Suite and Arch means what a plain suite
// name means: minbase, release pocket, the suite's components, verified.
type Request struct {
	Suite      suites.Suite
	Variant    string   // of resolve.Variants; "" is minbase, "-" is important
	Arch       string   // Debian's name of the architecture
	Pockets    []string // beside the release pocket: "updates", "security"
	Components []string // empty is the suite's
	Include    []string
	Exclude    []string
	Epoch      *int64 // SOURCE_DATE_EPOCH in seconds; nil is the newest mtime inside the packages

	Mirrors    []Mirror // in the order to try, the suite's own not among them
	OnlyThese  bool     // do not go on to the suite's own mirrors
	KeepMirror bool     // the root's sources.list names the mirror that was used
	Keyring    [][]byte // instead of the suite's keys

	NoVerify     bool // take an archive nobody signed
	AllowExpired bool // take a Release past its Valid-Until
	AllowOlder   bool // take a Release older than the last one seen
	Offline      bool // ask no mirror
	Fresh        bool // a mirror that does not answer is an error, even with a root at hand
	CheckUpdates bool // ask the security pocket, if it is not taken from, what it has newer
	Check        bool // build it again, cached or not, and compare

	At       time.Time // as of when to read the archive, from the snapshot service; zero is now
	Snapshot string    // the service's URLs, with {archive} and {time}; "" is the suite's

	Tag    string    // what the root is to be called in the cache; "" is its plain name, if it has one
	Parent *Request  // the root that this one extends; its packages are included in this one's
	Added  Additions // files and scripts of the user's

	kept map[string]string // the mirror each pocket was read from, once it is known
}

// Mirror is a base URL and where the user told us of it ("--mirror", "configuration", "host's apt sources").
type Mirror struct {
	URL    string
	Pocket string // "" is every pocket whose suite the mirror has
	From   string
}

// isWord holds for names of components ("main", "main/debian-installer") and architectures.
func isWord(s string) bool {
	if s == "" || strings.ContainsAny(s[:1], "+-./_") || strings.Contains(s, "..") {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789+-./_") == ""
}

// normalize fills defaults, sorts what has no order and judges names, so that equal wishes have equal keys.
func (r Request) normalize() (Request, error) {
	if r.Variant == "" {
		r.Variant = "minbase"
	}
	r.Variant = resolve.Canonical(r.Variant)
	if !slices.Contains(resolve.Variants(), r.Variant) {
		return r, &UsageError{What: fmt.Sprintf("unknown variant %q", r.Variant), Next: "known variants: " + strings.Join(resolve.Variants(), ", ")}
	}
	if len(r.Components) == 0 {
		r.Components = slices.Clone(r.Suite.Components)
	}
	pockets := []string{"release"}
	for _, p := range r.Pockets {
		if p == "release" || slices.Contains(pockets, p) {
			continue
		}
		if !slices.ContainsFunc(r.Suite.Pockets, func(k suites.Pocket) bool { return k.Name == p }) {
			return r, &UsageError{What: fmt.Sprintf("%s has no pocket %q", r.Suite.Codename, p), Next: "its pockets: release" + pocketNames(r.Suite)}
		}
		pockets = append(pockets, p)
	}
	sort.Strings(pockets[1:])
	r.Pockets = pockets
	r.Include, r.Exclude = uniq(r.Include), uniq(r.Exclude)
	for _, list := range [][]string{r.Include, r.Exclude} {
		for _, name := range list {
			if !validName(name) {
				return r, &UsageError{What: fmt.Sprintf("%q is not a package name", name), Next: "give names without version or architecture, separated by commas"}
			}
		}
	}
	var err error
	if r.Parent != nil {
		p, err := r.Parent.normalize()
		if err != nil {
			return r, err
		}
		r.Parent = &p
	}
	if r.Added, err = r.Added.normalize(); err != nil {
		return r, err
	}
	for _, check := range []func() error{r.checkUpdates, r.checkAt} {
		if err := check(); err != nil {
			return r, err
		}
	}
	if r.Check && r.Offline {
		return r, &UsageError{What: "nothing can be built offline, so nothing compared", Next: "drop --offline or --check"}
	}
	for _, name := range append(slices.Clone(r.Components), r.Arch) {
		if !isWord(name) {
			return r, &UsageError{What: fmt.Sprintf("%q is not the name of a component or architecture", name)}
		}
	}
	return r, nil
}

func pocketNames(s suites.Suite) string {
	var b strings.Builder
	for _, p := range s.Pockets {
		b.WriteString(", " + p.Name)
	}
	return b.String()
}

// uniq sorts l and drops repeats; an empty list is nil, so that it has one form in a key.
func uniq(l []string) []string {
	if len(l) == 0 {
		return nil
	}
	l = slices.Clone(l)
	sort.Strings(l)
	return slices.Compact(l)
}

// Plain reports whether the request is one a plain name may stand for: SUITE[-VARIANT][:ARCH].
func (r Request) Plain() bool {
	return len(r.Include) == 0 && len(r.Exclude) == 0 && len(r.Keyring) == 0 && !r.NoVerify && !r.KeepMirror && r.Epoch == nil && r.At.IsZero() && r.Added.none() && r.Parent == nil &&
		(len(r.Pockets) == 0 || slices.Equal(r.Pockets, []string{"release"})) &&
		(len(r.Components) == 0 || slices.Equal(r.Components, r.Suite.Components))
}

// Name is the plain name of the request's suite, variant and architecture; host is the architecture
// that needs no naming. A Tag comes before it.
func (r Request) Name(host string) string {
	if r.Tag != "" {
		return r.Tag
	}
	n := r.Suite.Codename
	if v := resolve.Canonical(r.Variant); v != "" && v != "minbase" {
		n += "-" + v
	}
	if r.Arch != host {
		n += ":" + r.Arch
	}
	return n
}

// UsageError is a request that cannot be meant; the caller is told what can.
type UsageError struct{ What, Next string }

func (e *UsageError) Error() string { return e.What }

// Hint names what would have been right.
func (e *UsageError) Hint() string { return e.Next }

// Info is what is known of a built root beside its bytes: where it came from and what was excused.
type Info struct {
	Suite      string       `json:"suite"`
	Title      string       `json:"title,omitempty"`
	EOL        string       `json:"eol,omitempty"` // the suite's end of life, YYYY-MM-DD
	Variant    string       `json:"variant"`
	Arch       string       `json:"arch"`
	Components []string     `json:"components"`
	Include    []string     `json:"include,omitempty"`
	Exclude    []string     `json:"exclude,omitempty"`
	Pockets    []InfoPocket `json:"pockets"`
	Updates    *InfoUpdates `json:"security_updates,omitempty"` // not known, or taken from there
	Unverified bool         `json:"unverified,omitempty"`
	Locked     bool         `json:"locked,omitempty"`     // made from a lock file, and by no verified archive since: Pockets are the file's word
	Exceptions []string     `json:"exceptions,omitempty"` // expired keys, passed Valid-Until, ...: each a sentence
	Warnings   []string     `json:"warnings,omitempty"`
	Sources    string       `json:"sources"` // first mirror of the root's sources.list
	Packages   int          `json:"packages"`
	Epoch      int64        `json:"epoch"`
	TarSize    int64        `json:"tar_size"` // bytes of the canonical tar
	Built      time.Time    `json:"built"`
	Extends    cache.Digest `json:"extends,omitempty"`   // the root that it was built on
	Pulled     string       `json:"pulled,omitempty"`    // the repository that it came from, made by another machine
	Imported   *InfoImport  `json:"imported,omitempty"`  // not built here: all of the above is what the root says of itself
	Committed  *InfoCommit  `json:"committed,omitempty"` // made in a container: all of the above is what the root says of itself
}

// HasLock says that the root was built, from a Lock.
func (i *Info) HasLock() bool { return i.Imported == nil && i.Committed == nil }

// InfoCommit is where a committed root came from: whoever worked in the container is all that stands behind it.
type InfoCommit struct {
	Parent    cache.Digest `json:"parent"` // the root below the container
	Name      string       `json:"name"`   // of that root then
	Container string       `json:"container"`
	Time      time.Time    `json:"time"`
}

// InfoImport is where an imported root came from. Nobody's signature was checked.
type InfoImport struct {
	From   string    `json:"from"`            // the file's name, "-" for stdin
	Format string    `json:"format"`          // tar, tar.zst, ..., oci, docker
	Image  string    `json:"image,omitempty"` // digest of the image's manifest
	Key    string    `json:"key,omitempty"`   // of the action that made it, by the image's own word
	Time   time.Time `json:"time"`
}

// InfoPocket is one pocket a root was built from.
type InfoPocket struct {
	Name    string    `json:"name"`
	Suite   string    `json:"suite"`
	Date    time.Time `json:"date"`
	Mirror  string    `json:"mirror"` // without user and password
	Signers []string  `json:"signers,omitempty"`
}
