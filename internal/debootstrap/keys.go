package debootstrap

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/suites"
)

// Bumped by hand whenever the same inputs would give another selection (resolverEpoch) or other bytes
// (buildEpoch); rootctl's own version is in no key, so that an update keeps the cache.
const (
	keySchema     = 1
	resolverEpoch = 1
	buildEpoch    = 1
)

// Kinds of keys and of the records that stand under them.
const (
	kindResolve = "resolve"
	kindRoot    = "root"
	kindRequest = "request"
)

// canonical encodes v as JSON with sorted keys (structs keep their declared order, which is part of
// the schema), no HTML escapes and no trailing newline.
func canonical(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("encode key input %T: %v", v, err)) // plain structs of strings and numbers only
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func digestOf(b []byte) cache.Digest {
	sum := sha256.Sum256(b)
	return cache.Digest(hex.EncodeToString(sum[:]))
}

// keyed is the input of a key with the digest of its canonical form.
type keyed struct {
	Key   cache.Digest
	Input []byte
}

func keyOf(v any) keyed {
	in := canonical(v)
	return keyed{digestOf(in), in}
}

type indexInput struct {
	Pocket    string       `json:"pocket"`
	Component string       `json:"component"`
	Arch      string       `json:"arch"`
	SHA256    cache.Digest `json:"sha256"` // of the uncompressed Packages, as Release states it
}

// resolveInput is what K1 is the digest of.
type resolveInput struct {
	Kind          string        `json:"kind"` // "resolve"
	Schema        int           `json:"schema"`
	Epoch         int           `json:"resolver_epoch"`
	Suite         string        `json:"suite"`
	Arch          string        `json:"arch"`
	Variant       string        `json:"variant"`
	Pockets       []string      `json:"pockets"`
	Components    []string      `json:"components"`
	Include       []string      `json:"include"`
	Exclude       []string      `json:"exclude"`
	ExtraRequired []string      `json:"extra_required"`
	DropDepends   []string      `json:"drop_depends"`
	ExtraBase     []string      `json:"extra_base"`
	Indices       []indexInput  `json:"indices"`
	Sources       []sourceInput `json:"sources,omitempty"`
}

// resolveKey (K1) covers all that decides the package closure. Release bytes, signatures, dates and
// compression stay out: a re-signed identical index changes nothing.
func resolveKey(r Request, indices []indexInput) keyed {
	rules := r.Suite.Rules
	return keyOf(resolveInput{kindResolve, keySchema, resolverEpoch, r.Suite.Codename, r.Arch, r.Variant, r.Pockets, r.Components,
		r.Include, r.Exclude, rules.ExtraRequired, rules.DropDepends, r.extraBase(), indices, sourceInputs(r.Added.Sources)})
}

type packageInput struct {
	Name     string       `json:"name"`
	Version  string       `json:"version"`
	Arch     string       `json:"arch"`
	SHA256   cache.Digest `json:"sha256"`
	Required bool         `json:"required"`
	Index    cache.Digest `json:"index"` // of the index paragraph, which ends up in the dpkg database
}

type fileInput struct {
	Path   string       `json:"path"`
	Mode   uint32       `json:"mode"`
	SHA256 cache.Digest `json:"sha256"`
}

// rootInput is what K2 is the digest of.
type rootInput struct {
	Kind     string         `json:"kind"` // "root"
	Schema   int            `json:"schema"`
	Build    int            `json:"build_epoch"`
	Suite    string         `json:"suite"`
	Arch     string         `json:"arch"`
	Variant  string         `json:"variant"`
	Merged   bool           `json:"merged_usr"`
	Staged   bool           `json:"staged,omitempty"`
	Rules    suites.Rules   `json:"rules"`
	Epoch    string         `json:"epoch"`
	Packages []packageInput `json:"packages"`
	Files    []fileInput    `json:"files"`
	Added    []addedInput   `json:"added,omitempty"`
	Hooks    []hookInput    `json:"hooks,omitempty"`
	Salt     string         `json:"cache_salt,omitempty"`
	Parent   cache.Digest   `json:"parent,omitempty"` // its own key
	Unshared string         `json:"unshared,omitempty"`
}

// rootKey (K2) covers all that decides the root's bytes. Mirror, proxy, jobs, cache folder, who signed
// and who builds stay out.
func rootKey(l *Lock) keyed {
	packages := make([]packageInput, len(l.Packages))
	for i, p := range l.Packages {
		packages[i] = packageInput{p.Name, p.Version, p.Arch, p.SHA256, p.Required, digestOf([]byte(p.Stanza))}
	}
	files := make([]fileInput, len(l.Files))
	for i, f := range l.Files {
		files[i] = fileInput{f.Path, f.Mode, digestOf([]byte(f.Content))}
	}
	var parent cache.Digest
	if l.Parent != nil {
		parent = rootKey(l.Parent).Key
	}
	rules := l.Rules
	rules.ExtraRequired, rules.DropDepends, rules.HTTPSPackages = nil, nil, nil // these act through the packages
	return keyOf(rootInput{kindRoot, keySchema, buildEpoch, l.Suite, l.Arch, l.Variant, l.Merged, l.Staged, rules, l.Epoch, packages, files,
		addedInputs(l.Added), hookInputs(l.Hooks), l.Salt, parent, l.Unshared})
}

// requestInput is what the key of a request is the digest of.
type requestInput struct {
	Kind       string         `json:"kind"` // "request"
	Schema     int            `json:"schema"`
	Suite      string         `json:"suite"`
	Arch       string         `json:"arch"`
	Variant    string         `json:"variant"`
	Pockets    []string       `json:"pockets"`
	Components []string       `json:"components"`
	Include    []string       `json:"include"`
	Exclude    []string       `json:"exclude"`
	Epoch      string         `json:"epoch"`
	Keyring    []cache.Digest `json:"keyring"`
	NoVerify   bool           `json:"no_verify"`
	Kept       []string       `json:"kept_mirrors"`
	At         string         `json:"at,omitempty"`
	Added      []addedInput   `json:"added,omitempty"`
	Hooks      []hookInput    `json:"hooks,omitempty"`
	Salt       string         `json:"cache_salt,omitempty"`
	Parent     cache.Digest   `json:"parent,omitempty"`
	Sources    []askedSource  `json:"sources,omitempty"`
}

// requestKey names what was asked for, without what the archive says: it finds the last root of a
// request when no mirror can be asked.
func requestKey(r Request) keyed {
	var keyring []cache.Digest
	for _, k := range r.Keyring {
		keyring = append(keyring, digestOf(k))
	}
	var kept []string
	if r.KeepMirror {
		for _, m := range r.Mirrors {
			kept = append(kept, withoutUser(m.URL))
		}
	}
	var parent cache.Digest
	if r.Parent != nil {
		parent = requestKey(*r.Parent).Key
	}
	epoch := "auto"
	if r.Epoch != nil {
		epoch = fmt.Sprint(*r.Epoch)
	}
	at := ""
	if !r.At.IsZero() {
		at = r.At.UTC().Format(time.RFC3339)
	}
	return keyOf(requestInput{kindRequest, keySchema, r.Suite.Codename, r.Arch, r.Variant, r.Pockets, r.Components, r.Include, r.Exclude,
		epoch, keyring, r.NoVerify, kept, at, addedInputs(r.Added.Files), hookInputs(r.Added.Hooks), r.Added.Salt, parent, askedSources(r.Added.Sources)})
}
