// Package testarchive builds signed package archives in memory, for tests.
//
// Five lines make one:
//
//	a := testarchive.New("bionic")
//	a.Add(testarchive.Package{Name: "hello", Files: []testarchive.File{{Name: "usr/bin/hello", Body: "hi\n"}}})
//	srv := a.Serve(t)
//	keyring := a.Keyring()
//	// ... fetch from srv.URL
//
// It builds hostile archives as readily as good ones, so it checks little of what it is given. What
// cannot be built at all (an unknown compression) is a mistake in the test and panics. Only tests and
// the programs under internal/reference may import it.
package testarchive

import (
	"bytes"
	"compress/gzip"
	"crypto"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Epoch is the date of an archive that names none, and the time its key was made.
var Epoch = time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)

// Archive describes one suite of an archive. Its fields may be changed at any time before Files,
// Handler or Serve is called, and a changed archive can be put behind a running Server with Set.
type Archive struct {
	Suite, Codename string
	Origin, Label   string
	Arches          []string // the first is the architecture of packages that name none
	Components      []string

	Date       time.Time
	ValidUntil time.Time // zero: no such field
	ByHash     bool      // Acquire-By-Hash: yes, and by-hash/SHA256/ is served
	Only512    bool      // states SHA-512 sums alone, as Ubuntu does from 26.10 on
	NoPlain    bool      // leaves out the uncompressed Packages file, as Debian does; Release still lists it
	Compress   []string  // of Packages; nil: gz and xz

	// Release sets further fields of Release; an empty value removes one that would be written.
	Release map[string]string

	Key        *Key        // the key that Keyring returns
	Signers    []*Key      // who signs; nil: Key. An empty list that is not nil: nobody
	SignedAt   time.Time   // zero: Date
	Hash       crypto.Hash // of signatures; zero: SHA-512
	NoInline   bool        // no InRelease, only Release and Release.gpg
	NoDetached bool        // no Release and Release.gpg

	// Overlay replaces files by path after all has been built and signed; a nil value removes one.
	Overlay map[string][]byte

	packages []Package
	old      map[string][]byte // by-hash files of earlier states, kept as real archives keep them
}

// New returns an empty archive for the suite, signed by an Ed25519 key of its own.
func New(suite string) *Archive {
	return &Archive{
		Suite: suite, Codename: suite, Origin: "Test", Label: "Test",
		Arches: []string{"amd64"}, Components: []string{"main"},
		Date: Epoch, ByHash: true, Key: NewKey("archive"), old: map[string][]byte{},
	}
}

// Add adds packages in the order in which the index will list them.
func (a *Archive) Add(packages ...Package) *Archive {
	a.packages = append(a.packages, packages...)
	return a
}

// Remove takes out every package of that name.
func (a *Archive) Remove(name string) *Archive {
	a.packages = slices.DeleteFunc(a.packages, func(p Package) bool { return p.Name == name })
	return a
}

// Packages returns what has been added.
func (a *Archive) Packages() []Package { return slices.Clone(a.packages) }

// Keyring returns the public part of Key, binary.
func (a *Archive) Keyring() []byte { return a.Key.Public() }

// Files returns every file of the archive by its path below the mirror's URL.
func (a *Archive) Files() map[string][]byte {
	files := map[string][]byte{}
	stanzas := map[string]*strings.Builder{} // by component/arch
	for i := range a.packages {
		a.addPackage(files, stanzas, a.packages[i])
	}
	dists := "dists/" + a.Suite + "/"
	listed := map[string][]byte{} // what Release lists, relative to dists
	for _, c := range a.Components {
		for _, arch := range a.Arches {
			var text string
			if b := stanzas[c+"/"+arch]; b != nil {
				text = b.String()
			}
			a.addIndex(files, listed, c+"/binary-"+arch+"/Packages", text)
		}
	}
	for path, body := range a.old {
		files[path] = body
	}
	a.addRelease(files, dists, a.releaseText(listed))
	for path, body := range a.Overlay {
		if body == nil {
			delete(files, path)
			continue
		}
		files[path] = body
	}
	return files
}

func (a *Archive) addPackage(files map[string][]byte, stanzas map[string]*strings.Builder, p Package) {
	p = p.withDefaults(a)
	deb := p.Deb()
	path := p.poolPath()
	files[path] = deb
	sum := sha256.Sum256(deb)
	fields := maps.Clone(p.controlFields())
	fields["Filename"] = path
	fields["Size"] = strconv.Itoa(len(deb))
	fields["SHA256"] = hex.EncodeToString(sum[:])
	if a.Only512 {
		delete(fields, "SHA256")
		fields["SHA512"] = fmt.Sprintf("%x", sha512.Sum512(deb))
	}
	for k, v := range p.Index {
		if fields[k] = v; v == "" {
			delete(fields, k)
		}
	}
	arches := []string{p.Arch}
	if p.Arch == "all" {
		arches = a.Arches
	}
	for _, arch := range arches {
		key := p.Component + "/" + arch
		if stanzas[key] == nil {
			stanzas[key] = &strings.Builder{}
		}
		stanzas[key].WriteString(stanza(fields) + "\n")
	}
}

func (a *Archive) addIndex(files, listed map[string][]byte, path, text string) {
	dists := "dists/" + a.Suite + "/"
	forms := map[string][]byte{"": []byte(text)}
	compress := a.Compress
	if compress == nil {
		compress = []string{"gz", "xz"}
	}
	for _, c := range compress {
		forms["."+c] = Compress(c, []byte(text))
	}
	for ext, body := range forms {
		listed[path+ext] = body
		if ext == "" && a.NoPlain {
			continue
		}
		files[dists+path+ext] = body
		if !a.ByHash {
			continue
		}
		sum := sha256.Sum256(body)
		byHash := dists + path[:strings.LastIndexByte(path, '/')] + "/by-hash/SHA256/" + hex.EncodeToString(sum[:])
		if a.Only512 {
			byHash = dists + path[:strings.LastIndexByte(path, '/')] + fmt.Sprintf("/by-hash/SHA512/%x", sha512.Sum512(body))
		}
		files[byHash] = body
		a.old[byHash] = body
	}
}

func (a *Archive) releaseText(listed map[string][]byte) string {
	fields := map[string]string{
		"Origin": a.Origin, "Label": a.Label, "Suite": a.Suite, "Codename": a.Codename,
		"Date":          a.Date.UTC().Format(time.RFC1123),
		"Architectures": strings.Join(a.Arches, " "), "Components": strings.Join(a.Components, " "),
	}
	if !a.ValidUntil.IsZero() {
		fields["Valid-Until"] = a.ValidUntil.UTC().Format(time.RFC1123)
	}
	if a.ByHash {
		fields["Acquire-By-Hash"] = "yes"
	}
	var sums strings.Builder
	for _, path := range slices.Sorted(maps.Keys(listed)) {
		sum := sha256.Sum256(listed[path])
		text := hex.EncodeToString(sum[:])
		if a.Only512 {
			text = fmt.Sprintf("%x", sha512.Sum512(listed[path]))
		}
		fmt.Fprintf(&sums, "\n %s %16d %s", text, len(listed[path]), path)
	}
	fields["SHA256"] = sums.String()
	if a.Only512 {
		delete(fields, "SHA256")
		fields["SHA512"] = sums.String()
	}
	for k, v := range a.Release {
		fields[k] = v
	}
	maps.DeleteFunc(fields, func(_, v string) bool { return v == "" })
	return stanza(fields)
}

func (a *Archive) addRelease(files map[string][]byte, dists, text string) {
	signers := a.Signers
	if signers == nil {
		signers = []*Key{a.Key}
	}
	at := a.SignedAt
	if at.IsZero() {
		at = a.Date
	}
	if !a.NoDetached {
		files[dists+"Release"] = []byte(text)
		if len(signers) > 0 {
			files[dists+"Release.gpg"] = SignDetached([]byte(text), at, a.Hash, signers...)
		}
	}
	if !a.NoInline && len(signers) > 0 {
		files[dists+"InRelease"] = SignInline([]byte(text), at, a.Hash, signers...)
	}
}

// stanza renders a deb822 paragraph: the identifying fields first, long ones last, others by name.
func stanza(fields map[string]string) string {
	rank := func(name string) int {
		first := []string{"Package", "Origin", "Version", "Label", "Architecture", "Suite", "Codename", "Date"}
		if i := slices.Index(first, name); i >= 0 {
			return i
		}
		switch name {
		case "Description", "SHA256", "SHA512":
			return 200
		}
		return 100
	}
	names := slices.Collect(maps.Keys(fields))
	sort.Slice(names, func(i, j int) bool {
		if ri, rj := rank(names[i]), rank(names[j]); ri != rj {
			return ri < rj
		}
		return names[i] < names[j]
	})
	var b strings.Builder
	for _, n := range names {
		v := fields[n]
		if strings.HasPrefix(v, "\n") {
			fmt.Fprintf(&b, "%s:%s\n", n, v)
			continue
		}
		fmt.Fprintf(&b, "%s: %s\n", n, v)
	}
	return b.String()
}

func gzipped(data []byte) []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if _, err := w.Write(data); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}
