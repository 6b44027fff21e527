package archive

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rootctl/rootctl/internal/debootstrap/fetch"
	"github.com/rootctl/rootctl/internal/debootstrap/pgp"
)

// clockSkew is how far ahead of ours the archive's clock may be.
const clockSkew = 10 * time.Minute

// message is a Release as it comes from a mirror: InRelease, or Release and Release.gpg.
type message struct {
	Inline    []byte // not nil if that is the form
	Text, Sig []byte
	unchanged bool // nothing came: what we have is what there is
}

// moment is when dates and keys are judged.
func (a *Archive) moment() time.Time {
	if !a.o.At.IsZero() {
		return a.o.At
	}
	return a.o.Now()
}

// lenient says whether a Release past its Valid-Until, or signed by a key that has expired since, may
// be taken from a mirror: of suites known to be archived, and of one past its end of life by the clock
// from its archive hosts alone. No answer of another mirror makes a suite an archived one.
func (a *Archive) lenient(p *Pocket, i int) bool {
	s := a.o.Suite
	return s.Archived || s.Ended(a.moment()) && a.isArchiveHost(p, i)
}

func (a *Archive) isArchiveHost(p *Pocket, i int) bool {
	own, _ := a.o.Suite.Pocket(p.Name)
	return slices.ContainsFunc(own.ArchivesFor(a.o.Arch), func(u string) bool { return strings.TrimRight(u, "/") == p.mirrors[i] })
}

// Archived says whether the suite is to be taken for archived: it is known to be, or it is past its end of
// life and was found on its archive host alone.
func (a *Archive) Archived() bool {
	s, p := a.o.Suite, a.Pocket("release")
	if s.Archived || p == nil {
		return s.Archived
	}
	at := p.current()
	return s.Ended(a.moment()) && at >= p.moved && a.isArchiveHost(p, at)
}

// found says where a suite was found that is not where it was looked for first.
func (a *Archive) found(p *Pocket, i int) []string {
	switch mirror := fetch.RedactURL(p.mirrors[i]); {
	case i < p.moved:
		return nil
	case a.isArchiveHost(p, i):
		return []string{fmt.Sprintf("%s is on its mirrors no more: read from its archive host %s", p.Suite, mirror)}
	default:
		return []string{fmt.Sprintf("%s is not on its archive host: read from %s", p.Suite, mirror)}
	}
}

// verify gives the Release that a trusted key has signed.
func (a *Archive) verify(m message, lenient bool) (*Release, error) {
	text := m.Text
	var sigs []pgp.Signature
	var err error
	o := pgp.Options{Now: a.moment(), AllowExpiredKeys: lenient}
	switch {
	case a.o.NoVerify && m.Inline != nil:
		text = withoutSignature(m.Inline)
	case a.o.NoVerify:
	case m.Inline != nil:
		text, sigs, err = a.o.Keyring.Cleartext(m.Inline, o)
	default:
		sigs, err = a.o.Keyring.Detached(m.Text, m.Sig, o)
	}
	if err != nil {
		return nil, fmt.Errorf("verify Release: %w", err)
	}
	r, err := parseRelease(text)
	if err != nil {
		return nil, err
	}
	r.Signatures, r.Unverified = sigs, a.o.NoVerify
	if r.KeysExpired = len(sigs) > 0 && allExpired(sigs); r.KeysExpired {
		r.Exceptions = append(r.Exceptions, fmt.Sprintf("signed by %s, a key that has expired since", sigs[0].Signer))
	}
	return r, nil
}

func allExpired(sigs []pgp.Signature) bool {
	for _, s := range sigs {
		if !s.KeyExpired {
			return false
		}
	}
	return true
}

// judge refuses a Release that is not of the suite, not of our time, or older than the one seen; what
// the options excuse becomes an exception.
func (a *Archive) judge(suite string, r *Release, seen time.Time, lenient bool) error {
	if !isSuite(r, suite) {
		return &WrongSuite{Want: suite, Suite: r.Suite, Codename: r.Codename}
	}
	now := a.moment()
	excuse := func(allowed bool, err error) error {
		if allowed {
			r.Exceptions = append(r.Exceptions, err.Error())
			return nil
		}
		return err
	}
	if r.Date.After(now.Add(clockSkew)) {
		if err := excuse(a.o.AllowExpired, &Early{Suite: suite, Date: r.Date, Now: now, Asked: !a.o.At.IsZero()}); err != nil {
			return err
		}
	}
	if !r.ValidUntil.IsZero() && now.After(r.ValidUntil) {
		if err := excuse(a.o.AllowExpired || lenient, &Expired{Suite: suite, Until: r.ValidUntil, Now: now}); err != nil {
			return err
		}
	}
	if r.Date.Before(seen) {
		return excuse(a.o.AllowOlder, &Older{Suite: suite, Date: r.Date, Seen: seen})
	}
	return nil
}

// isSuite says whether r is of the suite asked for. Ubuntu's pockets all have the codename of their
// suite, so a mirror could serve one for another. Debian's security suites up to buster's have the
// suite's own names and are told by their label.
func isSuite(r *Release, suite string) bool {
	if base, ok := strings.CutSuffix(suite, "/updates"); ok && r.Label == "Debian-Security" {
		return r.Suite == base || r.Codename == base || r.Codename == suite
	}
	return r.Suite == suite || r.Codename == suite && !strings.HasPrefix(r.Suite, suite+"-")
}
