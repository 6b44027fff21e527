package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/debootstrap/pgp"
	"github.com/rootctl/rootctl/internal/debootstrap/recipe"
	"github.com/rootctl/rootctl/internal/debootstrap/resolve"
	"github.com/rootctl/rootctl/suites"
)

// selection are the flags that decide which root is meant, shared by build and run.
type selection struct {
	variant    string
	arch       string
	pockets    []string
	components []string
	include    []string
	exclude    []string
	mirrors    []string
	caFile     string
	keyring    string
	keepMirror bool
	onlyMirror bool

	noVerify     bool
	allowExpired bool
	allowOlder   bool
	offline      bool
	fresh        bool
	checkUpdates bool // of build alone
	check        bool // of build alone

	remoteFlags // of build and run

	at       string
	lockFile string // of build and run

	file string // the recipe; "" is rootctl.toml, if it is there
	salt string
}

func (s *selection) register(f *pflag.FlagSet) {
	f.StringVar(&s.variant, "variant", "", "`variant`, the packages to start from: "+strings.Join(resolve.Variants(), ", ")+" (default minbase); - is important")
	f.StringVar(&s.arch, "arch", "", "Debian `architecture` (default the host's)")
	f.StringSliceVar(&s.pockets, "pocket", nil, "also take packages from these `pockets`: updates,security")
	f.StringSliceVar(&s.components, "components", nil, "archive `components` (default the suite's, mostly main)")
	f.StringSliceVar(&s.include, "include", nil, "`packages` to add, with what they depend on")
	f.StringSliceVar(&s.exclude, "exclude", nil, "`packages` to leave out unless something depends on them")
	f.StringArrayVar(&s.mirrors, "mirror", nil, "`[POCKET=]URL` to download from, for one pocket or all, may be repeated; then come the configured, the host's and the suite's own; the word default leaves the host's out")
	f.BoolVar(&s.onlyMirror, "only-mirror", false, "ask no other mirror than those of --mirror")
	f.StringVar(&s.caFile, "ca-file", "", "also trust the certificate authorities of this PEM `file` for https; run with a network adds them to the copy too")
	f.StringVar(&s.keyring, "keyring", "", "trust the OpenPGP keys of this `file` instead of the suite's")
	f.BoolVar(&s.keepMirror, "keep-mirror", false, "the root's sources.list names the mirror that was used")
	f.BoolVar(&s.noVerify, "no-verify", false, "DANGEROUS: take an archive without checking who signed it")
	f.BoolVar(&s.allowExpired, "allow-expired", false, "take a Release file past its Valid-Until date")
	f.BoolVar(&s.allowOlder, "allow-older", false, "take a Release file older than the last one seen")
	f.BoolVar(&s.offline, "offline", false, "ask no mirror: use what the cache holds")
	f.StringVar(&s.at, "at", "", "the archive as it was at this `time`, from the suite's snapshot service: 2026-03-01 or 2026-03-01T12:00:00Z")
	f.StringVar(&s.file, "file", "", "the recipe `file` whose roots may be named (default "+recipe.DefaultName+", where there is one)")
	f.StringVar(&s.salt, "cache-salt", "", "any `word` for what hooks with a network bring: roots are shared that have the same one")
	f.BoolVar(&s.fresh, "fresh", false, "fail when no mirror can be asked, even if a root is cached")
}

// given reports whether any flag asks for something a plain name does not stand for.
func (s *selection) given() bool {
	return s.variant != "" || s.arch != "" || len(s.pockets)+len(s.components)+len(s.include)+len(s.exclude) > 0 ||
		s.keyring != "" || s.keepMirror || s.noVerify || s.at != "" || s.salt != ""
}

// request is what a recipe's root of that NAME asks for, else what NAME and flags do.
func (s *selection) request(a *app, set *suites.Set, name string) (debootstrap.Request, error) {
	if root, err := s.recipeRoot(a, name); root != nil || err != nil {
		if err != nil {
			return debootstrap.Request{}, err
		}
		return s.recipeRequest(a, set, root)
	}
	r, err := s.suiteRequest(a, set, name)
	if unknown := (*suites.UnknownSuite)(nil); errors.As(err, &unknown) {
		err = s.orOfRecipe(name, err)
	}
	return r, err
}

// suiteRequest joins NAME and flags; without a flag a part of NAME (suite, variant, architecture) stays.
func (s *selection) suiteRequest(a *app, set *suites.Set, name string) (debootstrap.Request, error) {
	r, err := parseName(set, name)
	if err != nil {
		return r, err
	}
	if s.variant != "" {
		if r.Variant != "minbase" && r.Variant != resolve.Canonical(s.variant) {
			return r, withHint(&flagError{fmt.Errorf("name %s and --variant %s disagree", name, s.variant)}, "drop one of the two")
		}
		r.Variant = resolve.Canonical(s.variant)
	}
	if s.arch != "" {
		if strings.Contains(name, ":") && r.Arch != s.arch {
			return r, withHint(&flagError{fmt.Errorf("name %s and --arch %s disagree", name, s.arch)}, "drop one of the two")
		}
		r.Arch = s.arch
	}
	if err := checkArch(r.Arch); err != nil {
		return r, err
	}
	r.Pockets, r.Components, r.Include, r.Exclude = s.pockets, s.components, s.include, s.exclude
	r.KeepMirror, r.NoVerify, r.AllowExpired, r.AllowOlder = s.keepMirror, s.noVerify, s.allowExpired, s.allowOlder
	r.Offline, r.Fresh, r.CheckUpdates, r.Check = s.offline, s.fresh, s.checkUpdates, s.check
	r.Added.Salt = s.salt
	if s.offline && s.fresh {
		return r, withHint(&flagError{errors.New("--offline and --fresh contradict each other")}, "drop one of the two")
	}
	r.OnlyThese = s.onlyMirror
	if s.onlyMirror && len(s.mirrors) == 0 {
		return r, withHint(&flagError{errors.New("--only-mirror without --mirror")}, "name the mirror with --mirror URL")
	}
	if s.keyring != "" {
		key, err := readFile(s.keyring)
		if err != nil {
			return r, withHint(fmt.Errorf("read keyring: %w", err), "give a file of OpenPGP keys, binary or armored: gpg --export KEY >FILE")
		}
		if _, err := pgp.ReadKeyring(key); err != nil {
			return r, withHint(fmt.Errorf("--keyring %s: %w", s.keyring, err), "give a file of OpenPGP keys, binary or armored: gpg --export KEY > FILE")
		}
		r.Keyring = [][]byte{key}
	}
	if e := a.getenv("SOURCE_DATE_EPOCH"); e != "" {
		n, err := strconv.ParseInt(e, 10, 64)
		if err != nil || n < 0 {
			return r, withHint(&flagError{fmt.Errorf("SOURCE_DATE_EPOCH %q is not a number of seconds", e)}, "unset it, or set it to e.g. $(date +%%s)")
		}
		r.Epoch = &n
	}
	a.caFile = s.caFile
	if err := s.asOf(a, &r); err != nil {
		return r, err
	}
	r.Mirrors, err = s.mirrorList(a, r)
	return r, err
}
