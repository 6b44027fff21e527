package lockfile

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rootctl/rootctl/internal/debootstrap"
)

// ofRecipe is lock with what a recipe adds.
func ofRecipe() (*debootstrap.Lock, debootstrap.Request) {
	l, q := lock()
	q.Added = debootstrap.Additions{Salt: "2026-11",
		Files: []debootstrap.AddedFile{{Path: "/etc/motd", Mode: 0o644, Content: []byte("welcome\n")}, {Path: "/srv/run", Mode: 0o4755, Owner: "0:adm", Content: nil}},
		Hooks: []debootstrap.Hook{{When: "setup", Name: "a.sh", Script: []byte("#!/bin/sh\ntrue\n"), Network: "none"},
			{When: "customize", Name: "b.sh", Script: []byte("#!/bin/sh\nfalse\n"), Env: []string{"TOKEN=hush"}, Network: "nat"}},
		Sources: []debootstrap.Source{{Name: "tools", URL: "https://tools.example/deb", Suite: "Stable", Components: []string{"main"}, Packages: []string{"tool"}, Key: []byte("KEYS")}}}
	l.Added, l.Hooks, l.Salt = q.Added.Files, q.Added.Hooks, q.Added.Salt
	l.Added = append([]debootstrap.AddedFile{{Path: "/etc/apt/keyrings/tools.gpg", Mode: 0o644, Content: []byte("KEYS")}}, l.Added...)
	source := l.Releases[0]
	source.Pocket, source.Suite = "source-tools", "Stable"
	l.Releases = append(l.Releases, source)
	return l, q
}

func encodedRecipe(t *testing.T) string {
	t.Helper()
	r, err := FromLock(ofRecipe())
	if err != nil {
		t.Fatal(err)
	}
	text, err := Encode(File{Roots: map[string]Root{"ci": r}})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A recipe's root has its key by digests alone; its contents are not in the file, and come back from the recipe if they
// are the same.
func TestRecipeRoundTrip(t *testing.T) {
	l, q := ofRecipe()
	text := encodedRecipe(t)
	for _, word := range []string{"welcome", "hush", "/bin/sh", "KEYS"} {
		if strings.Contains(text, word) {
			t.Errorf("the file holds %q", word)
		}
	}
	f, err := Decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	r := f.Roots["ci"]
	got, err := r.Lock()
	if err != nil {
		t.Fatal(err)
	}
	l.Packages[0], l.Packages[1] = l.Packages[1], l.Packages[0]
	if debootstrap.KeyOf(got) != debootstrap.KeyOf(l) {
		t.Error("the key is another")
	}
	if n := len(got.Hollow()); n != 5 || !r.OfRecipe() {
		t.Errorf("hollow are %v", got.Hollow())
	}
	if b := r.Request.Beside(); len(b) != 1 || b[0].URL != "https://tools.example/deb" || b[0].Key != nil {
		t.Errorf("sources %v", b)
	}
	if err := got.Fill(q.Added); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(l.Hooks, got.Hooks); d != "" || got.Hollow() != nil || debootstrap.KeyOf(got) != debootstrap.KeyOf(l) {
		t.Errorf("filled: %v %s", got.Hollow(), d)
	}
}

// Fill takes nothing but what was locked.
func TestFill(t *testing.T) {
	for _, tt := range []struct {
		summary string
		change  func(*debootstrap.Additions)
		want    string // "" is taken
	}{
		{"the same, named otherwise", func(a *debootstrap.Additions) { a.Hooks[0].Name = "renamed.sh" }, ""},
		{"another file", func(a *debootstrap.Additions) { a.Files[0].Content = []byte("bye\n") }, "file /etc/motd was changed"},
		{"another mode", func(a *debootstrap.Additions) { a.Files[1].Mode = 0o755 }, "file /srv/run was changed"},
		{"another owner", func(a *debootstrap.Additions) { a.Files[0].Owner = "1:1" }, "file /etc/motd was changed"},
		{"one file more", func(a *debootstrap.Additions) {
			a.Files = append(a.Files, debootstrap.AddedFile{Path: "/etc/more"})
		}, "file /etc/more was added"},
		{"one file less", func(a *debootstrap.Additions) { a.Files = a.Files[1:] }, "file /etc/motd was taken away"},
		{"another key", func(a *debootstrap.Additions) { a.Sources[0].Key = []byte("OTHER") }, "file /etc/apt/keyrings/tools.gpg was changed"},
		{"another script", func(a *debootstrap.Additions) { a.Hooks[1].Script = []byte("#!/bin/sh\n") }, "hook b.sh was changed"},
		{"another variable", func(a *debootstrap.Additions) { a.Hooks[1].Env = nil }, "hook b.sh was changed"},
		{"another network", func(a *debootstrap.Additions) { a.Hooks[1].Network = "host" }, "hook b.sh was changed"},
		{"one hook less", func(a *debootstrap.Additions) { a.Hooks = a.Hooks[:1] }, "hook b.sh was taken away"},
		{"one hook more", func(a *debootstrap.Additions) {
			a.Hooks = append(a.Hooks, debootstrap.Hook{When: "customize", Name: "c.sh", Network: "none"})
		}, "hook c.sh was added"},
	} {
		t.Run(tt.summary, func(t *testing.T) {
			r, err := FromLock(ofRecipe())
			if err != nil {
				t.Fatal(err)
			}
			l, err := r.Lock()
			if err != nil {
				t.Fatal(err)
			}
			_, q := ofRecipe()
			tt.change(&q.Added)
			err = l.Fill(q.Added)
			var usage *debootstrap.UsageError
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
			} else if !errors.As(err, &usage) || !strings.Contains(err.Error(), tt.want) || l.Hollow() == nil {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
}

func TestRecipeRefused(t *testing.T) {
	good := encodedRecipe(t)
	for _, tt := range []struct{ summary, old, new, want string }{
		{"file outside", `"path": "/etc/motd"`, `"path": "/etc/../../motd"`, "added[1].path: "},
		{"file twice", `"path": "/etc/motd"`, `"path": "/srv/run"`, "stands there twice"},
		{"mode", `"mode": "4755"`, `"mode": "14755"`, "added[2].mode: "},
		{"owner", `"owner": "0:adm"`, `"owner": "0:a dm"`, "added[2].owner: "},
		{"owner with a path", `"owner": "0:adm"`, `"owner": "0:../adm"`, "added[2].owner: "},
		{"content in it", `"owner": "0:adm"`, `"content": "x", "owner": "0:adm"`, "content: unknown field"},
		{"moment", `"when": "setup"`, `"when": "late"`, "hooks[0].when: "},
		{"order of moments", `"when": "setup"`, `"when": "customize"`, ""},
		{"network", `"network": "nat"`, `"network": "bridge"`, "hooks[1].network: "},
		{"name with an escape", `"name": "a.sh"`, `"name": "\u001b[2J"`, "hooks[0].name: "},
		{"no word for the network", `"cache_salt": "2026-11",`, ``, "hooks[1].network: a hook with a network wants a cache_salt"},
		{"source with a password", `https://tools.example`, `https://me:pw@tools.example`, "request.sources[0].url: want"},
		{"source of another kind", `https://tools.example`, `file:///etc`, "request.sources[0].url: want"},
		{"source's suite", `"suite": "Stable",
            "url"`, `"suite": "../x",
            "url"`, "request.sources[0].suite: "},
		{"source without a release", `"name": "tools"`, `"name": "tolls"`, "tolls has no release"},
		{"source's package", `"tool"`, `"../tool"`, "request.sources[0].packages[0]: "},
	} {
		t.Run(tt.summary, func(t *testing.T) {
			if !strings.Contains(good, tt.old) {
				t.Fatalf("%q is not there:\n%s", tt.old, good)
			}
			_, err := Decode([]byte(strings.Replace(good, tt.old, tt.new, 1)))
			var e *Error
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
			} else if !errors.As(err, &e) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "pw") {
				t.Errorf("%v, want ... %s", err, tt.want)
			}
		})
	}
}
