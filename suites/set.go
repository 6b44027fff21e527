package suites

import (
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

// Set is the suites known: the embedded ones and those of users' folders.
type Set struct {
	layers []layer // a later one hides an earlier one's files
	names  []string
}

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
func (e *UnknownSuite) Hint() string { return "rootctl suites lists the names known" }

// Load reads the names of the embedded suites and of those in extra, whose files hide earlier ones
// of the same name. A file is parsed when it is asked for: the look-up of one codename stands before
// every run.
func Load(extra ...fs.FS) (*Set, error) {
	s := &Set{layers: []layer{{embedded, "suites"}}}
	for i, f := range extra {
		s.layers = append(s.layers, layer{f, fmt.Sprintf("own suites %d", i+1)})
	}
	for _, l := range s.layers {
		files, err := fs.ReadDir(l.fsys, ".")
		if err != nil && !(errors.Is(err, fs.ErrNotExist)) {
			return nil, fmt.Errorf("read suites: %w", err)
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

// Lookup finds a suite by codename, or else by alias. The error for a name that is not there is an
// *UnknownSuite.
func (s *Set) Lookup(name string) (Suite, error) {
	if _, ok := slices.BinarySearch(s.names, name); ok {
		return s.parse(name)
	}
	known := slices.Clone(s.names)
	for _, n := range s.names {
		su, err := s.parse(n)
		if err != nil {
			return Suite{}, err
		}
		if slices.Contains(su.Names(), name) {
			return su, nil
		}
		known = append(known, su.Names()[1:]...)
	}
	return Suite{}, &UnknownSuite{Name: name, Near: near(name, known)}
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
			return nil, fmt.Errorf("read keyring of %s: %w", su.Codename, err)
		}
		keys = append(keys, b)
	}
	return keys, nil
}

// parse reads NAME.toml of the last layer that has it.
func (s *Set) parse(name string) (Suite, error) {
	b, where, err := s.read(name+".toml", maxSuiteFile)
	if err != nil {
		return Suite{}, fmt.Errorf("read suite %s: %w", name, err)
	}
	var su Suite
	if err := decode(b, &su); err != nil {
		return Suite{}, fmt.Errorf("%s: %w", where, err)
	}
	if su.Codename != name {
		return Suite{}, fmt.Errorf("%s: codename %q: want the file's name", where, su.Codename)
	}
	if len(su.Components) == 0 {
		su.Components = []string{"main"}
	}
	if err := su.check(); err != nil {
		return Suite{}, fmt.Errorf("%s: %w", where, err)
	}
	return su, nil
}

func (s *Set) read(file string, limit int64) (b []byte, where string, err error) {
	for _, l := range slices.Backward(s.layers) {
		f, err := l.fsys.Open(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		where = l.name + "/" + file
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
		return fmt.Errorf("line %d, column %d: %w", row, col, err)
	}
	return err
}
