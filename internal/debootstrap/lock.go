package debootstrap

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/suites"
)

// LockSchema is the version of the Lock's own shape. A lock file of another
// schema is refused.
const LockSchema = 1

// EpochAuto as a Lock's Epoch means the newest mtime inside the closure's
// .debs, which is known only once they have been unpacked.
const EpochAuto = "auto"

// A Lock is everything a build needs and nothing else: whoever holds one needs
// no index, no key and no suite definition any more. It is plain data; its JSON
// form is the lock file.
type Lock struct {
	Schema   int           `json:"schema"`
	Suite    string        `json:"suite"`            // codename
	Variant  string        `json:"variant"`          // of resolve.Variants
	Arch     string        `json:"arch"`             // Debian's name
	Merged   bool          `json:"merged"`           // /bin and its like are links into /usr
	Staged   bool          `json:"staged,omitempty"` // configured in stages, whatever the rules say of the variant
	Rules    suites.Rules  `json:"rules"`            // the suite's rules, as they were when the lock was made
	Releases []LockRelease `json:"releases,omitempty"`
	Packages []LockPackage `json:"packages"` // in index order
	Files    []LockFile    `json:"files,omitempty"`
	Epoch    string        `json:"epoch"` // EpochAuto or decimal seconds since 1970
	Added    []AddedFile   `json:"added,omitempty"`
	Hooks    []Hook        `json:"hooks,omitempty"`
	Salt     string        `json:"cache_salt,omitempty"`
	Parent   *Lock         `json:"parent,omitempty"`   // of the root that this one extends, whose packages are among Packages
	Unshared string        `json:"unshared,omitempty"` // a word of this build alone: what its hooks do is in no key
}

// LockRelease names the signed Release a pocket's packages were chosen from.
// It is provenance: nothing of it enters the root.
type LockRelease struct {
	Pocket      string       `json:"pocket"` // "release", "updates", "security"
	Suite       string       `json:"suite"`  // the archive's name for it: bionic-updates
	Origin      string       `json:"origin,omitempty"`
	Codename    string       `json:"codename,omitempty"`
	Mirror      string       `json:"mirror,omitempty"` // without user or password
	Date        time.Time    `json:"date,omitzero"`
	Digest      cache.Digest `json:"digest,omitempty"`
	Signers     []string     `json:"signers,omitempty"`      // fingerprints
	KeysExpired bool         `json:"keys_expired,omitempty"` // of all signers, since they signed
	Exceptions  []string     `json:"exceptions,omitempty"`
	Unverified  bool         `json:"unverified,omitempty"`
}

// LockPackage is one package of the closure.
type LockPackage struct {
	Name     string       `json:"name"`
	Version  string       `json:"version"`
	Arch     string       `json:"arch"`
	Pocket   string       `json:"pocket"`
	Path     string       `json:"path"` // below the mirror's base: pool/main/...
	Size     int64        `json:"size"`
	SHA256   cache.Digest `json:"sha256"`
	Required bool         `json:"required,omitempty"` // else one of the base set
	Priority string       `json:"priority,omitempty"` // the index's, which overrides the .deb's
	Section  string       `json:"section,omitempty"`
	Stanza   string       `json:"stanza"` // raw index paragraph, without the empty line after it
	Order    int          `json:"order"`  // position in the index, unique in a Lock
}

// LockFile is a file written into the root at the end: sources.list and its
// like. It replaces whatever a package left there.
type LockFile struct {
	Path    string `json:"path"` // absolute
	Mode    uint32 `json:"mode"` // permission bits
	Content string `json:"content"`
}

// Unverified reports whether any release was taken without a good signature.
func (l *Lock) Unverified() bool {
	for _, r := range l.Releases {
		if r.Unverified {
			return true
		}
	}
	return false
}

// Validate reports the first thing about l that would stop Install before it
// looks at a .deb.
func (l *Lock) Validate() error {
	if l.Schema != LockSchema {
		return fmt.Errorf("lock: schema %d, want %d", l.Schema, LockSchema)
	}
	if l.Suite == "" || l.Arch == "" {
		return fmt.Errorf("lock: suite and arch must be set")
	}
	if _, _, err := l.epoch(); err != nil {
		return err
	}
	seen := make(map[string]bool, len(l.Packages))
	for _, p := range l.Packages {
		if !validName(p.Name) {
			return fmt.Errorf("lock: bad package name %q", p.Name)
		}
		if p.Arch != l.Arch && p.Arch != "all" {
			return fmt.Errorf("lock: %s: architecture %q in a lock for %s", p.Name, p.Arch, l.Arch)
		}
		if seen[p.Name] {
			return fmt.Errorf("lock: package %s stands there twice", p.Name)
		}
		seen[p.Name] = true
	}
	for _, f := range l.Files {
		if len(f.Path) < 2 || f.Path[0] != '/' || f.Mode&^uint32(0o7777) != 0 {
			return fmt.Errorf("lock: bad file %q mode %#o", f.Path, f.Mode)
		}
	}
	if err := checkAdded(l.Added, l.Hooks); err != nil {
		return err
	}
	return l.checkParent()
}

// epoch returns the wanted epoch, or auto.
func (l *Lock) epoch() (seconds int64, auto bool, err error) {
	if l.Epoch == "" || l.Epoch == EpochAuto {
		return 0, true, nil
	}
	n, err := strconv.ParseInt(l.Epoch, 10, 64)
	if err != nil || n < 0 {
		return 0, false, fmt.Errorf("lock: epoch %q is neither %q nor seconds since 1970", l.Epoch, EpochAuto)
	}
	return n, false, nil
}

// validName is Debian policy 5.6.1: names become file names below
// var/lib/dpkg/info, so nothing else may pass.
func validName(s string) bool {
	if len(s) < 2 || len(s) > 200 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case i > 0 && (c == '+' || c == '-' || c == '.'):
		default:
			return false
		}
	}
	return true
}

// ValidPackageName says whether a package may be called s.
func ValidPackageName(s string) bool { return validName(s) }

// An Executor runs one command in a container whose root is Command.Dir, used
// in place: own mount, pid, ipc, uts and network namespaces (no network), a
// fresh /proc, a read-only /sys, and a tmpfs of its own on /dev with the
// standard nodes. fsync and its like do nothing. Stdin is /dev/null, umask 022.
type Executor interface {
	// Exec returns the command's exit status, 128+n when signal n ended it; err
	// is for a command that could not be started or was stopped with ctx. When it
	// returns, no process of the container is left.
	Exec(ctx context.Context, c Command) (status int, err error)
}

// Command is what an Executor runs.
type Command struct {
	Dir        string    // root of the container, a path outside
	Argv       []string  // Argv[0] is an absolute path inside
	Env        []string  // the whole environment
	Output     io.Writer // stdout and stderr
	Network    string    // "" is none; else nat or host
	Devfsd     bool      // bind a character node at /dev/.devfsd, so that makedev leaves /dev alone
	Unverified bool      // the packages bear no trusted signature: grant the scripts as little as will do
}

// Event is one step of progress: item Item of Stage begins or ends.
type Event struct {
	Stage string // "unpack", "prepare", "configure", "clean"
	Item  string // a package's name, or ""
	Done  int64
	Total int64 // 0: not known
}
