package lockfile

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/debootstrap/archive"
	"github.com/rootctl/rootctl/internal/debootstrap/control"
	"github.com/rootctl/rootctl/internal/debootstrap/resolve"
	"github.com/rootctl/rootctl/internal/debootstrap/version"
)

// AtLayout is how a moment is written, in Request.At and in the URLs of snapshot services.
const AtLayout = "20060102T150405Z"

const (
	maxPackage = 8 << 30 // bytes of a .deb
	maxRoots   = 1000
	lastSecond = 15032385535 // that file systems can hold, in 2446
)

// Compiled when a lock file is read: every start of the program, of run above all, would pay for them.
var (
	word        = compiled(`^[a-z0-9][a-z0-9+./_-]{0,99}$`)
	octal       = compiled(`^0[0-7]{3}$`)
	anyMode     = compiled(`^[0-7]{4}$`)
	owner       = compiled(`^[A-Za-z0-9_.][A-Za-z0-9_.-]{0,99}$`)
	fingerprint = compiled(`^[0-9A-F]{16,64}$`)
)

func compiled(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

// check judges what the file says. Its values become paths, names of files, URLs and lines of dpkg's
// database.
func check(r *reader, f File) error {
	if f.Schema != Schema {
		return r.fail("schema", "%d: this rootctl reads %d", f.Schema, Schema)
	}
	if len(f.Roots) == 0 || len(f.Roots) > maxRoots {
		return r.fail("roots", "want between one root and %d", maxRoots)
	}
	for _, name := range f.Names() {
		c := checker{r, "roots." + name}
		if cache.CheckRefName(name) != nil {
			return c.fail("", "not the name of a root")
		}
		if err := c.root(f.Roots[name]); err != nil {
			return err
		}
	}
	return nil
}

type checker struct {
	r  *reader
	at string
}

// fail is for a value of the root, "" for the root itself.
func (c checker) fail(field, format string, args ...any) error {
	at := strings.TrimSuffix(c.at+"."+field, ".")
	offsets, where := c.r.find(at), at
	for offsets[where] == 0 && strings.Contains(where, ".") { // a field that is missing
		where = where[:strings.LastIndexAny(where, ".")]
	}
	return c.r.failAt(offsets[where], at, format, args...)
}

func isWord(s string) bool { return word().MatchString(s) && !strings.Contains(s, "..") }

func (c checker) root(r Root) error {
	for _, f := range []struct{ field, value string }{{"suite", r.Suite}, {"arch", r.Arch}} {
		if !isWord(f.value) || strings.Contains(f.value, "/") {
			return c.fail(f.field, "%q is no name", f.value)
		}
	}
	switch rules := r.Rules; {
	case !slices.Contains(resolve.Variants(), r.Variant):
		return c.fail("variant", "%q: want one of %s", r.Variant, strings.Join(resolve.Variants(), ", "))
	case rules.Merged != "yes" && rules.Merged != "no":
		return c.fail("rules.merged", "%q: want yes or no", rules.Merged)
	case rules.RootOrderMod != 8191 && rules.RootOrderMod != 65521:
		return c.fail("rules.root_order_mod", "%d: want 8191 or 65521", rules.RootOrderMod)
	case rules.DeviceTable != "" && !isWord(rules.DeviceTable):
		return c.fail("rules.device_table", "%q is no name", rules.DeviceTable)
	}
	if n, err := strconv.ParseInt(r.Epoch, 10, 64); r.Epoch != debootstrap.EpochAuto && (err != nil || n < 0 || n > lastSecond || strconv.FormatInt(n, 10) != r.Epoch) {
		return c.fail("epoch", "%q: want auto, or seconds since 1970 up to %d", r.Epoch, int64(lastSecond))
	}
	for _, check := range []func(Root) error{c.request, c.releases, c.packages, c.files, c.sources, c.added} {
		if err := check(r); err != nil {
			return err
		}
	}
	return nil
}

func (c checker) request(r Root) error {
	q := r.Request
	for field, list := range map[string][]string{"pockets": q.Pockets, "components": q.Components} {
		for i, s := range list {
			if !isWord(s) {
				return c.fail(fmt.Sprintf("request.%s[%d]", field, i), "%q is no name", s)
			}
		}
	}
	for field, list := range map[string][]string{"include": q.Include, "exclude": q.Exclude} {
		for i, s := range list {
			if !debootstrap.ValidPackageName(s) {
				return c.fail(fmt.Sprintf("request.%s[%d]", field, i), "%q is no package's name", s)
			}
		}
	}
	if len(q.Components) == 0 {
		return c.fail("request.components", "there is none")
	}
	if _, err := time.Parse(AtLayout, q.At); q.At != "" && err != nil {
		return c.fail("request.at", "%q: want YYYYMMDDTHHMMSSZ", q.At)
	}
	for i, d := range q.Keyring {
		if !d.Valid() {
			return c.fail(fmt.Sprintf("request.keyring[%d]", i), "no SHA-256")
		}
	}
	return nil
}

func (c checker) releases(r Root) error {
	seen := map[string]bool{}
	for i, l := range r.Releases {
		at := fmt.Sprintf("releases[%d]", i)
		switch {
		case !isWord(l.Pocket) || seen[l.Pocket]:
			return c.fail(at+".pocket", "%q is no name, or stands there twice", l.Pocket)
		case !isWord(l.Suite) && !(strings.HasPrefix(l.Pocket, "source-") && isPath(l.Suite)):
			return c.fail(at+".suite", "%q is no name", l.Suite)
		case !plain(l.Origin) || !plain(l.Codename):
			return c.fail(at, "origin and codename are to be one line")
		case !l.Digest.Valid():
			return c.fail(at+".sha256", "no SHA-256")
		case l.Date.IsZero():
			return c.fail(at+".date", "there is none")
		case len(l.Signers) == 0 != l.Unverified:
			return c.fail(at+".signers", "one who is verified has signers, and no other")
		}
		for n, s := range l.Signers {
			if !fingerprint().MatchString(s) {
				return c.fail(fmt.Sprintf("%s.signers[%d]", at, n), "no fingerprint in upper-case digits")
			}
		}
		seen[l.Pocket] = true
	}
	if !seen["release"] {
		return c.fail("releases", "the release pocket's is missing")
	}
	return nil
}

// plain holds for what may be printed on a line.
func plain(s string) bool {
	return len(s) <= 200 && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

func (c checker) packages(r Root) error {
	if len(r.Packages) == 0 {
		return c.fail("packages", "there is none")
	}
	seen := map[string]bool{}
	for i, p := range r.Packages {
		at := fmt.Sprintf("packages[%d]", i)
		pocket := func(l Release) bool { return l.Pocket == p.Pocket }
		switch {
		case !debootstrap.ValidPackageName(p.Name):
			return c.fail(at+".name", "%q is no package's name", p.Name)
		case seen[p.Name]:
			return c.fail(at+".name", "%s stands there twice", p.Name)
		case version.Valid(p.Version) != nil:
			return c.fail(at+".version", "%q is no version", p.Version)
		case p.Arch != "all" && p.Arch != r.Arch:
			return c.fail(at+".arch", "%q in a root of %s", p.Arch, r.Arch)
		case !slices.ContainsFunc(r.Releases, pocket):
			return c.fail(at+".pocket", "%q has no release", p.Pocket)
		case !archive.ValidPath(p.Path):
			return c.fail(at+".path", "%q is no path below a mirror", p.Path)
		case p.Size <= 0 || p.Size > maxPackage:
			return c.fail(at+".size", "want between 1 and %d bytes", int64(maxPackage))
		case !p.SHA256.Valid():
			return c.fail(at+".sha256", "no SHA-256")
		}
		seen[p.Name] = true
		if err := c.paragraph(p, r.Paragraphs); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Paragraphs)) {
		if !seen[name] {
			return c.fail("paragraphs."+name, "there is no such package")
		}
	}
	return nil
}

// paragraph compares what the index says with what the file says apart from it.
func (c checker) paragraph(p Package, all map[string][]string) error {
	at := "paragraphs." + p.Name
	lines, ok := all[p.Name]
	if !ok {
		return c.fail("paragraphs", "%s has none", p.Name)
	}
	for i, l := range lines {
		if strings.Trim(l, " \t") == "" || strings.ContainsAny(l, "\n\r\x00") {
			return c.fail(fmt.Sprintf("%s[%d]", at, i), "want one line with text")
		}
	}
	text, n := strings.Join(lines, "\n"), 0
	for _, err := range control.Paragraphs(text) {
		if n++; err != nil {
			return c.fail(at, "%s", err)
		}
	}
	if n != 1 {
		return c.fail(at, "not a paragraph")
	}
	for _, f := range []struct {
		name, want string
		optional   bool
	}{
		{name: "Package", want: p.Name}, {name: "Version", want: p.Version}, {name: "Architecture", want: p.Arch}, {name: "Filename", want: p.Path},
		{name: "Size", want: strconv.FormatInt(p.Size, 10)}, {name: "SHA256", want: string(p.SHA256), optional: true},
	} {
		if got := control.Field(text, f.name); got != f.want && !(f.optional && got == "") {
			return c.fail(at, "%s is %q there, and %q in packages", f.name, got, f.want)
		}
	}
	return nil
}

func (c checker) files(r Root) error {
	seen := map[string]bool{}
	for i, f := range r.Files {
		at := fmt.Sprintf("files[%d]", i)
		switch {
		case len(f.Path) < 2 || f.Path[0] != '/' || path.Clean(f.Path) != f.Path || !plain(f.Path):
			return c.fail(at+".path", "%q is no absolute path in its shortest form", f.Path)
		case seen[f.Path]:
			return c.fail(at+".path", "%s stands there twice", f.Path)
		case !octal().MatchString(f.Mode):
			return c.fail(at+".mode", "%q: want 0644 or the like", f.Mode)
		}
		seen[f.Path] = true
	}
	return nil
}
