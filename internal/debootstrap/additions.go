package debootstrap

import (
	"crypto/rand"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/rootctl/rootctl/internal/cache"
)

// Moments at which a hook runs.
const (
	HookSetup     = "setup"     // the required packages are unpacked, and no script of theirs has run; of an extending root, before anything
	HookEssential = "essential" // the required packages are configured
	HookCustomize = "customize" // all packages are, and the added files are there
)

// Additions are what a request asks for beside packages of the suite's archive. The zero value is nothing.
type Additions struct {
	Files   []AddedFile // sorted by path
	Sources []Source    // archives beside the suite's, sorted by name
	Hooks   []Hook      // in the order to run
	Salt    string      // stands for what hooks bring from the network
}

func (a Additions) none() bool {
	return len(a.Files) == 0 && len(a.Hooks) == 0 && len(a.Sources) == 0 && a.Salt == ""
}

// AddedFile is a file of the user's that is written once all packages are configured, before the last hooks.
type AddedFile struct {
	Path    string `json:"path"`            // absolute
	Mode    uint32 `json:"mode"`            // permission bits
	Owner   string `json:"owner,omitempty"` // USER:GROUP, each a name of the root's or a number; "" is root's
	Content []byte `json:"content"`

	Sum cache.Digest `json:"-"` // of the content, where that is not known
}

// Hook is a script of the user's that runs in the root, in the build's sandbox.
type Hook struct {
	When    string   `json:"when"`
	Name    string   `json:"name"` // for people
	Script  []byte   `json:"script"`
	Env     []string `json:"env,omitempty"` // NAME=VALUE
	Network string   `json:"network"`       // none, nat or host

	ScriptSum, EnvSum cache.Digest `json:"-"` // of Script and Env, where these are not known
}

// Unshared says that a hook takes from the network what no key covers, and that the user gave no salt for it.
func (a Additions) Unshared() bool {
	return a.Salt == "" && slices.ContainsFunc(a.Hooks, func(h Hook) bool { return h.Network != "none" })
}

// needsStages says whether a hook wants the required packages by themselves.
func needsStages(hooks []Hook) bool {
	return slices.ContainsFunc(hooks, func(h Hook) bool { return h.When != HookCustomize })
}

// nonce is a key's word for a root that no other build is to find.
func nonce() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return fmt.Sprintf("%x", b)
}

// normalize judges additions; equal wishes have equal forms.
func (a Additions) normalize() (Additions, error) {
	a.Files, a.Hooks = slices.Clone(a.Files), slices.Clone(a.Hooks)
	a.Sources = slices.Clone(a.Sources)
	slices.SortFunc(a.Sources, func(x, y Source) int { return strings.Compare(x.Name, y.Name) })
	for i, s := range a.Sources {
		a.Sources[i].Packages = uniq(s.Packages)
		if i > 0 && a.Sources[i-1].Name == s.Name {
			return a, &UsageError{What: fmt.Sprintf("two sources are called %s", s.Name)}
		}
	}
	slices.SortFunc(a.Files, func(x, y AddedFile) int { return strings.Compare(x.Path, y.Path) })
	moments := []string{HookSetup, HookEssential, HookCustomize} // only among those of one moment has the order a meaning
	slices.SortStableFunc(a.Hooks, func(x, y Hook) int { return slices.Index(moments, x.When) - slices.Index(moments, y.When) })
	return a, checkAdded(a.Files, a.Hooks)
}

func checkAdded(files []AddedFile, hooks []Hook) error {
	for i, f := range files {
		if len(f.Path) < 2 || f.Path[0] != '/' || path.Clean(f.Path) != f.Path || strings.ContainsAny(f.Path, "\x00\n") || f.Mode&^uint32(0o7777) != 0 {
			return &UsageError{What: fmt.Sprintf("bad added file %q mode %#o", f.Path, f.Mode)}
		}
		if i > 0 && files[i-1].Path == f.Path {
			return &UsageError{What: fmt.Sprintf("file %s is added twice", f.Path)}
		}
	}
	for _, h := range hooks {
		if h.When != HookSetup && h.When != HookEssential && h.When != HookCustomize {
			return &UsageError{What: fmt.Sprintf("hook %s: unknown moment %q", h.Name, h.When)}
		}
		if h.Network != "none" && h.Network != "nat" && h.Network != "host" {
			return &UsageError{What: fmt.Sprintf("hook %s: unknown network %q", h.Name, h.Network)}
		}
	}
	return nil
}

type addedInput struct {
	Path   string       `json:"path"`
	Mode   uint32       `json:"mode"`
	Owner  string       `json:"owner"`
	SHA256 cache.Digest `json:"sha256"`
}

type hookInput struct {
	When    string       `json:"when"`
	N       int          `json:"n"` // the how-maniest of its moment, from 1
	SHA256  cache.Digest `json:"sha256"`
	Env     cache.Digest `json:"env"` // a digest, for it may hold what is nobody's business
	Network string       `json:"network"`
}

func (h hookInput) name() string { return fmt.Sprintf("%s %d", h.When, h.N) }

func addedInputs(files []AddedFile) (out []addedInput) {
	for _, f := range files {
		owner := f.Owner
		if owner == "" {
			owner = "0:0"
		}
		out = append(out, addedInput{f.Path, f.Mode, owner, f.Digest()})
	}
	return out
}

// hookInputs leave names out: a script that is called otherwise does the same.
func hookInputs(hooks []Hook) (out []hookInput) {
	n := map[string]int{}
	for _, h := range hooks {
		n[h.When]++
		script, env := h.Sums()
		out = append(out, hookInput{h.When, n[h.When], script, env, h.Network})
	}
	return out
}

// compareHook says what differs, in the words of the key: nameHooks adds the script's.
func compareHook(a, b *hookInput) Change {
	label := "hook " + firstOf(b, a).name()
	switch {
	case a == nil || b == nil:
		return Change{Text: presence(label, a != nil, b != nil)}
	case a.SHA256 != b.SHA256:
		return Change{Was: string(a.SHA256), Now: string(b.SHA256), Text: label + ": its script changed"}
	case a.Network != b.Network:
		return Change{Was: a.Network, Now: b.Network, Text: fmt.Sprintf("%s: network %s -> %s", label, a.Network, b.Network)}
	}
	return Change{Text: label + ": its variables changed"}
}

// nameHooks says which script each changed hook is in the recipe.
func nameHooks(changes []Change, l *Lock) {
	if l == nil {
		return
	}
	names := map[string]string{}
	for i, in := range hookInputs(l.Hooks) {
		names[in.name()] = l.Hooks[i].Name
	}
	for i, c := range changes {
		if name := names[c.Name]; c.Input == "hooks" && name != "" {
			changes[i].Text = strings.Replace(c.Text, "hook "+c.Name, "hook "+name+" ("+c.Name+")", 1)
		}
	}
}
