package archive

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/control"
	"github.com/rootctl/rootctl/internal/debootstrap/pgp"
)

const (
	maxRelease   = 32 << 20
	maxEntries   = 200_000
	maxEntrySize = 1 << 40
)

// Release says what a suite consists of.
type Release struct {
	Origin, Label, Suite, Codename string
	Date, ValidUntil               time.Time // ValidUntil is zero when there is none
	Architectures, Components      []string
	ByHash                         bool            // files are served under their digest, too
	Files                          map[string]File // by path below dists/SUITE
	Signatures                     []pgp.Signature // the good ones
	KeysExpired                    bool            // there are good ones, all by keys that have expired since
	Digest                         cache.Digest    // of the text that was signed
	Unverified                     bool            // nobody looked at the signatures
	Exceptions                     []string        // what was let pass, a sentence each
}

// File is one file of an archive.
type File struct {
	Path   string // relative; of pool files below the mirror, of indices below dists/SUITE
	Size   int64
	SHA256 cache.Digest
	SHA512 string // set where the archive states no SHA256
}

// parseRelease reads a Release file: one paragraph, of whose sums only SHA256 counts, or SHA512 where
// there is no other.
func parseRelease(text []byte) (*Release, error) {
	if len(text) > maxRelease {
		return nil, fmt.Errorf("parse Release: larger than %d bytes", maxRelease)
	}
	r := &Release{Digest: cache.Sum(text)}
	n := 0
	for paragraph, err := range control.Paragraphs(string(text)) {
		if n++; err == nil && n > 1 {
			err = errors.New("a second paragraph")
		}
		if err == nil {
			err = r.fill(paragraph)
		}
		if err != nil {
			return nil, fmt.Errorf("parse Release: %w", err)
		}
	}
	switch {
	case n == 0:
		return nil, errors.New("parse Release: it is empty")
	case r.Date.IsZero():
		return nil, errors.New("parse Release: no Date")
	case r.Files == nil:
		return nil, errors.New("parse Release: no SHA256 or SHA512 sums")
	}
	return r, nil
}

func (r *Release) fill(paragraph string) (err error) {
	sums512 := ""
	for name, value := range control.Fields(paragraph) {
		switch strings.ToLower(name) {
		case "origin":
			r.Origin = value
		case "label":
			r.Label = value
		case "suite":
			r.Suite = value
		case "codename":
			r.Codename = value
		case "architectures":
			r.Architectures = strings.Fields(value)
		case "components":
			r.Components = strings.Fields(value)
		case "acquire-by-hash":
			r.ByHash = strings.EqualFold(value, "yes")
		case "date":
			r.Date, err = parseDate(value)
		case "valid-until":
			r.ValidUntil, err = parseDate(value)
		case "sha256":
			r.Files, err = parseSums(value, false)
		case "sha512":
			sums512 = value
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if r.Files == nil && sums512 != "" {
		if r.Files, err = parseSums(sums512, true); err != nil {
			return fmt.Errorf("SHA512: %w", err)
		}
	}
	return nil
}

// parseDate reads RFC 1123 dates, whose zone must be UTC: Go takes any other name for it.
func parseDate(s string) (time.Time, error) {
	const layout = "Mon, _2 Jan 2006 15:04:05 "
	if t, err := time.Parse(layout+"-0700", s); err == nil {
		return t.UTC(), nil
	}
	t, err := time.Parse(layout+"MST", s)
	if zone, _ := t.Zone(); err != nil || zone != "UTC" && zone != "GMT" {
		return time.Time{}, fmt.Errorf("%.64q is not a date in UTC", s)
	}
	return t.UTC(), nil
}

func parseSums(value string, long bool) (map[string]File, error) {
	files := make(map[string]File, min(strings.Count(value, "\n")+1, maxEntries))
	for line := range strings.Lines(value) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) != 3 {
			return nil, fmt.Errorf("%.200q is not digest, size and path", strings.TrimSpace(line))
		}
		size, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil || size < 0 || size > maxEntrySize || f[1][0] == '+' || f[1][0] == '-' {
			return nil, fmt.Errorf("%.200q has no size", strings.TrimSpace(line))
		}
		e := File{Path: strings.Clone(f[2]), Size: size, SHA256: cache.Digest(strings.Clone(f[0]))}
		if long {
			e.SHA256, e.SHA512 = "", strings.Clone(f[0])
		}
		switch {
		case long && !isSHA512(e.SHA512):
			return nil, fmt.Errorf("%.200q has no sha512", strings.TrimSpace(line))
		case !long && !e.SHA256.Valid():
			return nil, fmt.Errorf("%.200q has no sha256", strings.TrimSpace(line))
		}
		if err := checkPath(e.Path); err != nil {
			return nil, err
		}
		if have, ok := files[e.Path]; ok && have != e {
			return nil, fmt.Errorf("%s is listed twice", e.Path)
		}
		if files[e.Path] = e; len(files) > maxEntries {
			return nil, fmt.Errorf("more than %d files", maxEntries)
		}
	}
	return files, nil
}

// ValidPath says whether p may be a file's path below a mirror.
func ValidPath(p string) bool { return checkPath(p) == nil }

// checkPath takes relative paths in their shortest form, of printable characters.
func checkPath(p string) error {
	ok := p != "" && len(p) <= 1024 && path.Clean(p) == p && p != "." && p != ".." &&
		p[0] != '/' && !strings.HasPrefix(p, "../")
	for _, c := range []byte(p) {
		ok = ok && c > ' ' && c < 0x7f && c != '\\'
	}
	if !ok {
		return fmt.Errorf("bad path %.200q", p)
	}
	return nil
}

// withoutSignature returns the text of a clear-signed message, unverified; any other message as it is.
func withoutSignature(msg []byte) []byte {
	const begin, end = "-----BEGIN PGP SIGNED MESSAGE-----", "-----BEGIN PGP SIGNATURE-----"
	s := strings.ReplaceAll(string(msg), "\r\n", "\n")
	if !strings.HasPrefix(s, begin) {
		return msg
	}
	_, s, _ = strings.Cut(s, "\n\n")
	s, _, _ = strings.Cut(s, "\n"+end)
	var b strings.Builder
	for line := range strings.Lines(s + "\n") {
		b.WriteString(strings.TrimPrefix(line, "- "))
	}
	return []byte(b.String())
}
