package archive

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/rootctl/rootctl/internal/debootstrap/fetch"
	"github.com/rootctl/rootctl/internal/debootstrap/pgp"
)

// What callers branch on.
var (
	ErrNotFound   = errors.New("not in the archive")
	ErrOffline    = errors.New("no mirror answers")
	ErrNotTrusted = errors.New("archive not trusted") // *Expired, *Early, *Older, *WrongSuite
)

// Stale is a mirror that does not have what its Release promises: it is being updated, or broken.
type Stale struct {
	Pocket, Mirror, Path string
	Err                  error
}

func (e *Stale) Error() string {
	return fmt.Sprintf("%s of %s does not match its Release: %v", e.Path, e.Mirror, e.Err)
}

func (e *Stale) Unwrap() error { return e.Err }

// Hint is the next step to take.
func (e *Stale) Hint() string {
	return "the mirror may be in mid-update: try later, or another --mirror"
}

// Expired is a Release past its Valid-Until.
type Expired struct {
	Suite string
	Until time.Time
	Now   time.Time // not in Error, which is kept with the root
}

func (e *Expired) Error() string {
	return fmt.Sprintf("Release of %s was valid until %s", e.Suite, day(e.Until))
}

// Is makes it ErrNotTrusted.
func (e *Expired) Is(target error) bool { return target == ErrNotTrusted }

// Hint is the next step to take.
func (e *Expired) Hint() string {
	return fmt.Sprintf("the mirror may be out of date, or this machine's clock wrong (it says %s): try another --mirror, or --allow-expired to accept it", day(e.Now))
}

// Early is a Release dated in the future: this machine's clock is wrong, or the archive's was.
type Early struct {
	Suite     string
	Date, Now time.Time
	Asked     bool // Now is not the clock's: the archive was asked for as of then
}

func (e *Early) Error() string {
	if e.Asked {
		return fmt.Sprintf("Release of %s is dated %s, after %s, as of which it was asked for", e.Suite, day(e.Date), day(e.Now))
	}
	return fmt.Sprintf("Release of %s is dated %s, but here it is %s", e.Suite, day(e.Date), day(e.Now))
}

// Is makes it ErrNotTrusted.
func (e *Early) Is(target error) bool { return target == ErrNotTrusted }

// Hint is the next step to take.
func (e *Early) Hint() string {
	if e.Asked {
		return "the service does not go back so far, or serves no snapshots: ask for a later time"
	}
	return "set this machine's clock, or --allow-expired to accept it"
}

// Older is a Release older than the one seen before from the same source.
type Older struct {
	Suite      string
	Date, Seen time.Time
}

func (e *Older) Error() string {
	return fmt.Sprintf("Release of %s is of %s, older than the one of %s seen before", e.Suite, day(e.Date), day(e.Seen))
}

// Is makes it ErrNotTrusted.
func (e *Older) Is(target error) bool { return target == ErrNotTrusted }

// Hint is the next step to take.
func (e *Older) Hint() string {
	return "the mirror may be out of date or turned back: try another --mirror, or --allow-older to accept it"
}

// WrongSuite is a Release of another suite than the one asked for.
type WrongSuite struct{ Want, Suite, Codename string }

func (e *WrongSuite) Error() string {
	return fmt.Sprintf("Release is of suite %q, codename %q, not of %s", e.Suite, e.Codename, e.Want)
}

// Is makes it ErrNotTrusted.
func (e *WrongSuite) Is(target error) bool { return target == ErrNotTrusted }

// Hint is the next step to take.
func (e *WrongSuite) Hint() string { return "this mirror serves something else: try another --mirror" }

// Offline is ErrOffline for one suite.
type Offline struct {
	Suite   string
	Date    time.Time // of the last verified Release, zero if there is none
	Checked time.Time // when that was last read from a mirror
	Err     error
}

func (e *Offline) Error() string { return e.Err.Error() }

func (e *Offline) Unwrap() []error { return []error{ErrOffline, e.Err} }

// Hint is the next step to take.
func (e *Offline) Hint() string {
	var none *NoMirror
	if errors.As(e.Err, &none) && none.silentArchive() != "" {
		return fmt.Sprintf("is %s within reach (network, http_proxy)? Or name another mirror of that archive with --mirror URL", none.silentArchive())
	}
	return "check the network and http_proxy, or name a --mirror"
}

// NoMirror says what was wrong with each mirror of a suite: archive hosts first, then as asked.
type NoMirror struct {
	Suite  string
	Pocket string
	Tried  []Attempt
}

// Attempt is one mirror that is not used.
type Attempt struct {
	Mirror  string // without user and password
	Err     error
	Archive bool // it is an archive host of the suite's
}

// Cause says in a few words why the mirror is not used, and leaves its name out.
func (t Attempt) Cause() string {
	var failed *fetch.Error
	switch {
	case errors.Is(t.Err, ErrNotFound):
		return "it does not have the suite"
	case errors.As(t.Err, &failed):
		return failed.Cause()
	}
	return t.Err.Error()
}

func (e *NoMirror) Error() string {
	if len(e.Tried) == 0 {
		return fmt.Sprintf("no mirror is left for %s", e.Suite)
	}
	lines := []string{"no usable mirror of " + e.Suite}
	for _, t := range e.Tried {
		text := t.Err.Error()
		var failed *fetch.Error
		if errors.As(t.Err, &failed) {
			text = failed.Error()
		}
		if !strings.Contains(text, t.Mirror) {
			text = t.Mirror + ": " + text
		}
		lines = append(lines, text)
	}
	if len(e.Tried) == 1 {
		return strings.Join(lines, ": ")
	}
	return strings.Join(lines, "\n  ")
}

// silentArchive is the host of a suite that has been archived, "" if it answers or there is none.
func (e *NoMirror) silentArchive() string {
	for _, t := range e.Tried {
		if u, err := url.Parse(t.Mirror); err == nil && t.Archive && fetch.Offline(t.Err) {
			return u.Host
		}
	}
	return ""
}

// absent says whether a mirror answered that it has not the suite.
func (e *NoMirror) absent() bool {
	return slices.ContainsFunc(e.Tried, func(t Attempt) bool { return errors.Is(t.Err, ErrNotFound) })
}

// Unwrap gives the gravest error: that a mirror could not be trusted weighs more than that another
// did not answer.
func (e *NoMirror) Unwrap() error {
	var worst error
	for _, t := range e.Tried {
		if worst == nil || gravity(t.Err) > gravity(worst) {
			worst = t.Err
		}
	}
	return worst
}

// Hint is the next step to take.
func (e *NoMirror) Hint() string {
	var u *pgp.Untrusted
	var h interface{ Hint() string }
	worst := e.Unwrap()
	switch {
	case errors.As(worst, &h):
		return h.Hint()
	case errors.As(worst, &u):
		return "if this archive is signed by other keys, give them with --keyring"
	case fetch.Certificate(worst):
		return fetch.CertificateHint(worst)
	case errors.Is(worst, fetch.ErrDenied):
		return "give user and password in ~/.netrc, in apt's auth.conf or in the mirror's URL: https://USER:PASSWORD@HOST/..."
	}
	if e.Pocket != "" && e.Pocket != "release" {
		return fmt.Sprintf("name a mirror that has it, --mirror %s=URL, or leave it out of --pocket", e.Pocket)
	}
	return "check the mirror's URL, or try another --mirror"
}

func gravity(err error) int {
	var u *pgp.Untrusted
	switch {
	case errors.As(err, &u):
		return 4
	case errors.Is(err, ErrNotTrusted):
		return 3
	case fetch.Offline(err):
		return 1
	case errors.Is(err, ErrNotFound):
		return 0
	}
	return 2
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
