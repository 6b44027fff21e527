package suites

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

//go:embed *.toml keyrings
var embedded embed.FS

const (
	maxSuiteFile = 64 << 10
	maxKeyring   = 1 << 20
)

// Set is the suites known: the embedded ones, those of users' folders, and those added by With.
type Set struct {
	layers []layer // a later one hides an earlier one's files
	names  []string
	added  []Suite
}

// Folder is a user's folder of suite files, by the name that errors say.
type Folder struct {
	fs.FS
	Name string
}

// Stat looks without opening: to open a pipe is to wait for its writer.
func (f Folder) Stat(name string) (fs.FileInfo, error) { return fs.Stat(f.FS, name) }

// layer is one folder of suite files.
type layer struct {
	fsys fs.FS
	name string // said in errors
}

// UnknownSuite is the error for a name that no suite has.
type UnknownSuite struct {
	Name string
	Near []string // names that it may have been meant to be, best first
}

func (e *UnknownSuite) Error() string {
	s := fmt.Sprintf("no suite is called %q", e.Name)
	if len(e.Near) > 0 {
		s += "; did you mean " + strings.Join(e.Near, " or ") + "?"
	}
	return s
}

// Hint is the next step to take.
func (e *UnknownSuite) Hint() string {
	return "rootctl suites lists the names known; one that is newer is asked for with --mirror URL or --mirror default"
}

// Load reads the names of the embedded suites and of those in extra, whose files hide earlier ones
// of the same name. A file is parsed when it is asked for: the look-up of one codename stands before
// every run.
func Load(extra ...fs.FS) (*Set, error) {
	s := &Set{layers: []layer{{embedded, "suites"}}}
	for i, f := range extra {
		name := fmt.Sprintf("own suites %d", i+1)
		if folder, ok := f.(Folder); ok {
			name = folder.Name
		}
		s.layers = append(s.layers, layer{f, name})
	}
	for _, l := range s.layers {
		files, err := fs.ReadDir(l.fsys, ".")
		if err != nil && !(errors.Is(err, fs.ErrNotExist)) {
			return nil, fmt.Errorf("read suites of %s: %w", l.name, err)
		}
		for _, f := range files {
			if n, ok := strings.CutSuffix(f.Name(), ".toml"); ok && !f.IsDir() {
				s.names = append(s.names, n)
			}
		}
	}
	sort.Strings(s.names)
	s.names = slices.Compact(s.names)
	return s, nil
}

// With returns a set that knows one suite more, or instead of the one of its codename.
func (s *Set) With(su Suite) (*Set, error) {
	if len(su.Components) == 0 {
		su.Components = []string{"main"}
	}
	if err := su.check(); err != nil {
		return nil, err
	}
	return &Set{layers: s.layers, names: s.names, added: append([]Suite{su}, s.added...)}, nil
}

// Lookup finds a suite by codename, or else by role or alias. The error for a name that is not there
// is an *UnknownSuite. No more files are parsed than must be: most names are codenames.
func (s *Set) Lookup(name string) (Suite, error) {
	for _, su := range s.added {
		if su.Codename == name {
			return su, nil
		}
	}
	if s.Has(name) {
		return s.parse(name)
	}
	for _, n := range s.names {
		if b, _, err := s.read(n+".toml", maxSuiteFile); err != nil || !bytes.Contains(b, []byte(`"`+name+`"`)) && !bytes.Contains(b, []byte(`'`+name+`'`)) {
			continue // it cannot have that alias
		}
		if su, err := s.parse(n); err != nil {
			return Suite{}, err
		} else if slices.Contains(su.Names(), name) {
			return su, nil
		}
	}
	return Suite{}, &UnknownSuite{Name: name, Near: s.near(name)}
}

// Has says whether a suite of that codename has a file.
func (s *Set) Has(codename string) bool {
	_, ok := slices.BinarySearch(s.names, codename)
	return ok
}

// known are all names of all suites.
func (s *Set) known() []string {
	names := slices.Clone(s.names)
	for _, su := range s.All() {
		names = append(names, su.Names()[1:]...)
	}
	return names
}

// Defaults returns the suite of a family whose rules serve for a suite that is not known: the newest
// of those that rootctl brings, which is the one without a version if there is such a one.
func (s *Set) Defaults(family string) (newest Suite, ok bool) {
	own := &Set{layers: s.layers[:1], names: s.names}
	for _, su := range own.All() {
		if su.Family == family && (!ok || newest.Version != "" && (su.Version == "" || su.Version > newest.Version)) {
			newest, ok = su, true
		}
	}
	return newest, ok
}

// All returns every suite that parses, by codename. Check tells of the others.
func (s *Set) All() []Suite {
	var all []Suite
	for _, n := range s.names {
		if su, err := s.parse(n); err == nil {
			all = append(all, su)
		}
	}
	return all
}

// Check parses every file, reads its keyrings, and joins the errors.
func (s *Set) Check() error {
	var errs []error
	owner := map[string]string{}
	for _, n := range s.names {
		su, err := s.parse(n)
		if err == nil {
			_, err = s.Keyring(su)
		}
		errs = append(errs, err)
		for _, name := range su.Names() {
			if o, ok := owner[name]; ok {
				errs = append(errs, fmt.Errorf("%s.toml: name %q is %s's", n, name, o))
			}
			owner[name] = n
		}
	}
	return errors.Join(errs...)
}

// Keyring returns the suite's key files, raw, binary or armoured.
func (s *Set) Keyring(su Suite) ([][]byte, error) {
	var keys [][]byte
	for _, k := range su.Keyrings {
		b, _, err := s.read(path.Join("keyrings", k), maxKeyring)
		if err != nil {
			return nil, &BadFile{fmt.Errorf("read keyring of %s: %w", su.Codename, err),
				fmt.Sprintf("put it beside %s.toml: gpg --export KEY >keyrings/%s", su.Codename, k)}
		}
		keys = append(keys, b)
	}
	return keys, nil
}

// BadFile is a file of a user's suites that cannot be used.
type BadFile struct {
	error
	hint string
}

func (e *BadFile) Unwrap() error { return e.error }

// Hint is the next step to take.
func (e *BadFile) Hint() string { return e.hint }

// Brought says whether a suite of that codename is one of those that rootctl brings.
func Brought(codename string) bool {
	_, err := fs.Stat(embedded, codename+".toml")
	return err == nil
}

// parse reads NAME.toml of the last layer that has it.
func (s *Set) parse(name string) (Suite, error) {
	su, err := s.parseFile(name)
	if err != nil {
		err = &BadFile{err, "docs/suites.md says what a suite's file may hold"}
	}
	return su, err
}

func (s *Set) parseFile(name string) (Suite, error) {
	b, where, err := s.read(name+".toml", maxSuiteFile)
	if err != nil {
		return Suite{}, fmt.Errorf("read suite %s: %w", name, err)
	}
	var su Suite
	if err := decode(b, &su); err != nil {
		return Suite{}, fmt.Errorf("%s: %w", where, err)
	}
	if su.Codename != name {
		return Suite{}, fmt.Errorf("%s: %w", where, placed(b, faultf("codename", "codename %q: want the file's name", su.Codename)))
	}
	if len(su.Components) == 0 {
		su.Components = []string{"main"}
	}
	if err := su.check(); err != nil {
		return Suite{}, fmt.Errorf("%s: %w", where, placed(b, err))
	}
	return su, nil
}

func (s *Set) read(file string, limit int64) (b []byte, where string, err error) {
	for _, l := range slices.Backward(s.layers) {
		st, err := fs.Stat(l.fsys, file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		where = l.name + "/" + file
		if err == nil && !st.Mode().IsRegular() {
			err = fmt.Errorf("%s: not a regular file", where) // one may never come to an end, or wait for a writer
		}
		if err != nil {
			return nil, where, err
		}
		f, err := l.fsys.Open(file)
		if err != nil {
			return nil, where, err
		}
		defer f.Close()
		b, err = io.ReadAll(io.LimitReader(f, limit+1))
		if err == nil && int64(len(b)) > limit {
			err = fmt.Errorf("%s: larger than %d bytes", where, limit)
		}
		return b, where, err
	}
	return nil, "", fmt.Errorf("%s: %w", file, fs.ErrNotExist)
}

// decode is strict: a key that is not known is an error with its place.
func decode(b []byte, su *Suite) error {
	err := toml.NewDecoder(strings.NewReader(string(b))).DisallowUnknownFields().Decode(su)
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) && len(strict.Errors) > 0 {
		e := &strict.Errors[0]
		row, col := e.Position()
		return fmt.Errorf("line %d, column %d: unknown key %s", row, col, strings.Join(e.Key(), "."))
	}
	var bad *toml.DecodeError
	if errors.As(err, &bad) {
		row, col := bad.Position()
		if text := bad.Error(); strings.Contains(text, "cannot decode TOML string into") && strings.Contains(text, "[]string") {
			return fmt.Errorf("line %d: want a list: [\"...\"]", row)
		}
		return fmt.Errorf("line %d, column %d: %w", row, col, err)
	}
	return err
}
