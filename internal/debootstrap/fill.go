package debootstrap

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/rootctl/rootctl/internal/cache"
)

// A Lock that was read from a lock file has the digests of files and scripts and not their contents, which are a recipe's.
// It has the key of one that has both, so that what is there is found by it; to be built it must be filled.

// Digest is that of a file's content.
func (f AddedFile) Digest() cache.Digest {
	if f.Sum != "" {
		return f.Sum
	}
	return digestOf(f.Content)
}

// Sums are the digests of a hook's script and variables.
func (h Hook) Sums() (script, env cache.Digest) {
	if h.ScriptSum != "" {
		return h.ScriptSum, h.EnvSum
	}
	return digestOf(h.Script), digestOf([]byte(strings.Join(h.Env, "\x00")))
}

// Hollow are the files and hooks of l whose contents are not there, for people.
func (l *Lock) Hollow() (what []string) {
	for _, f := range l.Added {
		if f.Sum != "" {
			what = append(what, f.Path)
		}
	}
	for _, h := range l.Hooks {
		if h.ScriptSum != "" {
			what = append(what, fmt.Sprintf("%s hook %s", h.When, h.Name))
		}
	}
	return what
}

// Fill gives l the contents of the files and hooks that it has the digests of. Additions that are others are a *UsageError.
func (l *Lock) Fill(a Additions) error {
	a, err := a.normalize()
	if err != nil {
		return err
	}
	_, keys := Request{Added: a}.sourceFiles()
	files := withKeys(a.Files, keys)
	changed := func(format string, args ...any) error {
		return &UsageError{What: fmt.Sprintf(format, args...) + " since it was locked", Next: "put it back, or take it into the lock: rootctl lock --update"}
	}
	have, want := addedInputs(files), addedInputs(l.Added)
	for i := range max(len(have), len(want)) {
		switch {
		case i == len(want) || i < len(have) && have[i].Path < want[i].Path:
			return changed("file %s was added", have[i].Path)
		case i == len(have) || have[i].Path > want[i].Path:
			return changed("file %s was taken away", want[i].Path)
		case have[i] != want[i]:
			return changed("file %s was changed", have[i].Path)
		}
	}
	ran, run := hookInputs(a.Hooks), hookInputs(l.Hooks)
	for i := range max(len(ran), len(run)) {
		switch {
		case i == len(run):
			return changed("hook %s was added", a.Hooks[i].Name)
		case i == len(ran):
			return changed("hook %s was taken away", l.Hooks[i].Name)
		case ran[i] != run[i]:
			return changed("hook %s was changed", cmp.Or(a.Hooks[i].Name, l.Hooks[i].Name))
		}
	}
	l.Added, l.Hooks = files, a.Hooks
	return nil
}

// filled refuses to build what has no contents.
func (l *Lock) filled() error {
	what := l.Hollow()
	if len(what) == 0 {
		return nil
	}
	return &UsageError{What: fmt.Sprintf("a lock file has no contents, and %s is a recipe's", strings.Join(what[:min(3, len(what))], ", ")),
		Next: "build it where the recipe lies that it was locked from, or name that with --file"}
}
