package recipe

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// write makes a folder with a recipe and files beside it.
func write(t *testing.T, text string, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		name := filepath.Join(dir, files[i])
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(files[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, DefaultName)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

const whole = `# two roots
[root.child]
extends = "base"
include = ["b"]
[[root.child.files]]
path = "/etc/z"
content = ""

[root.base]
suite   = "bionic"
variant = "buildd"
arch    = "amd64"
tag     = "ci"
include = ["a", "c"]
exclude = ["d"]
pockets = ["updates"]
components = ["main", "universe"]
network = "nat"
cache-salt = "2026-01"
files = [
  { path = "/etc/motd", mode = "0600", owner = "root:adm", file = "files/motd" },
  { path = "/etc/issue", content = "hello\n", owner = "7" },
]
[[root.base.hooks]]
when = "customize"
run = "echo hi"
env = { B = "2", A = "1" }
[[root.base.hooks]]
when = "setup"
file = "hooks/x.py"
network = "host"
[[root.base.sources]]
name = "tools"
url = "https://tools.example.org/deb/"
suite = "stable"
key = "tools.asc"
`

func TestRead(t *testing.T) {
	r, err := Read(write(t, whole, "files/motd", "welcome\n", "hooks/x.py", "#!/usr/bin/python3\npass\n", "tools.asc", "KEY"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(r.Names(), " "); got != "ci child" {
		t.Errorf("order %s: a root comes after the one it extends", got)
	}
	base, ok := r.Find("base")
	if tag, _ := r.Find("ci"); !ok || tag != base {
		t.Error("a root is found by table and by tag")
	}
	got := fmt.Sprintf("%s %s %s %v %v %v %v %s %s", base.Suite, base.Variant, base.Arch, base.Include, base.Exclude, base.Pockets, base.Comps, base.Network, base.CacheSalt)
	if want := "bionic buildd amd64 [a c] [d] [updates] [main universe] nat 2026-01"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, f := range base.Files {
		got += fmt.Sprintf("|%s %04o %s %q", f.Path, f.Mode, f.Owner, f.Content)
	}
	for _, h := range base.Hooks {
		got += fmt.Sprintf("|%s %s %q %v %s", h.When, h.Name, h.Script, h.Env, h.Network)
	}
	for _, s := range base.Sources {
		got += fmt.Sprintf("|%s %s %s %v %q", s.Name, s.URL, s.Suite, s.Components, s.Key)
	}
	_, got, _ = strings.Cut(got, "|")
	want := `/etc/issue 0644 7:7 "hello\n"|/etc/motd 0600 0:adm "welcome\n"|` +
		`customize base.hooks[0] "#!/bin/sh -e\necho hi" [A=1 B=2] none|setup hooks/x.py "#!/usr/bin/python3\npass\n" [] host|` +
		`tools https://tools.example.org/deb stable [main] "KEY"`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestRefused(t *testing.T) {
	base := "[root.a]\nsuite = \"bionic\"\n"
	for _, tt := range []struct{ summary, text, want, hint string }{
		{"empty", "", ": there is no root", "[root.NAME]"},
		{"no TOML", "[root.a\n", ":1:8: ", ""},
		{"twice", base + "suite = \"x\"\n", ":3:1: ", ""},
		{"unknown key", base + "includes = [\"a\"]\n", ":3:1: root.a.includes: unknown key", "did you mean include?"},
		{"unknown key of a hook", base + "[[root.a.hooks]]\nwhen = \"setup\"\n  scirpt = \"x\"\nrnu=\"x\"\n", ":5:3: root.a.hooks[0].scirpt: unknown key", "known keys: when, run"},
		{"near key of a hook", base + "[[root.a.hooks]]\nrnu=\"x\"\n", ":4:1: root.a.hooks[0].rnu: unknown key", "did you mean run?"},
		{"inline", base + "files = [{ path = \"/a\", contents = \"\" }]\n", ":3:25: root.a.files[0].contents", "did you mean content?"},
		{"no table for roots", "[bionic]\nsuite = \"x\"\n", ":1:2: bionic: unknown key", "[root.bionic]"},
		{"roots", "[roots.bionic]\nsuite = \"x\"\n", ":1:2: ", "did you mean root?"},
		{"no list", base + "include = \"gcc\"\n", ":3:", ""},
		{"no text", base + "variant = 3\n", ":3:11: ", ""},
		{"mode as a number", base + "files = [{path=\"/a\", content=\"\", mode=644}]\n", ":3:39", ""},
		{"no suite", "[root.a]\ninclude=[]\n", ":1:7: root.a: it has no suite", ""},
		{"name", "[root.\"a b\"]\nsuite=\"x\"\n", "no name for a root", ""},
		{"network", base + "network = \"bridge\"\n", ":3:1: root.a.network: unknown network", "none, nat or host"},
		{"near a moment", base + "hooks = [{ when = \"custmize\", run = \"x\" }]\n", `root.a.hooks[0].when: unknown moment "custmize"`, "did you mean customize?"},
		{"near a root", base + "[root.b]\nextends = \"aa\"\n[root.abc]\nextends = \"abcd\"\n", `there is no [root.`, "it names another root of this file"},
		{"near another root", base + "[root.tools]\nsuite = \"bionic\"\n[root.b]\nextends = \"tolls\"\n", `root.b.extends: there is no [root.tolls] here`, "did you mean tools?"},
		{"moment", base + "hooks = [{ when = \"late\", run = \"x\" }]\n", `:3:12: root.a.hooks[0].when: unknown moment "late"`, "customize"},
		{"moment of a second hook", base + "[[root.a.hooks]]\nwhen=\"setup\"\nrun=\"x\"\n[[root.a.hooks]]\nwhen=\"x\"\n", ":7:1: root.a.hooks[1].when", ""},
		{"nothing to run", base + "[[root.a.hooks]]\nwhen=\"setup\"\n", ":3:10: root.a.hooks[0]: want either run or file", ""},
		{"variable", base + "[[root.a.hooks]]\nwhen=\"setup\"\nrun=\"x\"\nenv={\"A=B\"=\"x\"}\n", "not a variable", ""},
		{"relative path", base + "files = [{path=\"etc/x\", content=\"\"}]\n", ":3:11: root.a.files[0].path: \"etc/x\"", ""},
		{"path with ..", base + "files = [{path=\"/etc/../../x\", content=\"\"}]\n", "shortest form", ""},
		{"path in /dev", base + "files = [{path=\"/dev/x\", content=\"\"}]\n", "/dev is no part", ""},
		{"path twice", base + "files = [{path=\"/x\", content=\"\"},{path=\"/x\", content=\"\"}]\n", "added twice", ""},
		{"mode", base + "files = [{path=\"/x\", content=\"\", mode=\"0849\"}]\n", "no mode", ""},
		{"owner", base + "files = [{path=\"/x\", content=\"\", owner=\"a b\"}]\n", "no owner", ""},
		{"content and file", base + "files = [{path=\"/x\", content=\"\", file=\"in\"}]\n", "want either content or file", ""},
		{"no such file", base + "files = [{path=\"/x\", file=\"gone\"}]\n", ":3:22: root.a.files[0].file: gone: no such file", ""},
		{"file above", base + "files = [{path=\"/x\", file=\"../in\"}]\n", "lies outside", "copy it there"},
		{"absolute file", base + "files = [{path=\"/x\", file=\"/etc/passwd\"}]\n", "is an absolute path", ""},
		{"link that leads out", base + "files = [{path=\"/x\", file=\"out\"}]\n", "escapes", "link that leads out"},
		{"folder", base + "files = [{path=\"/x\", file=\"dir\"}]\n", "not a regular file", ""},
		{"big file", base + "files = [{path=\"/x\", file=\"big\"}]\n", "larger than", ""},
		{"url with password", base + "[[root.a.sources]]\nname=\"x\"\nurl=\"http://me:pw@x\"\nsuite=\"x\"\nkey=\"in\"\n", "me:xxxxx@x", "netrc"},
		{"no key", base + "[[root.a.sources]]\nname=\"x\"\nurl=\"http://x\"\nsuite=\"x\"\n", "it has no key", ""},
		{"flat archive", base + "[[root.a.sources]]\nname=\"x\"\nurl=\"http://x\"\nsuite=\"./\"\nkey=\"in\"\n", ":6:1: root.a.sources[0].suite: \"./\": a flat archive", "dists/"},
		{"flat archive in a folder", base + "[[root.a.sources]]\nname=\"x\"\nurl=\"http://x\"\nsuite=\"amd64/\"\nkey=\"in\"\n", "a flat archive", "dists/"},
		{"suite that leads elsewhere", base + "[[root.a.sources]]\nname=\"x\"\nurl=\"http://x\"\nsuite=\"a/./b\"\nkey=\"in\"\n", "is no suite", "sources.list"},
		{"key of 10 MB", base + "[[root.a.sources]]\nname=\"x\"\nurl=\"http://x\"\nsuite=\"x\"\nkey=\"big\"\n", ":7:1: root.a.sources[0].key: ", ""},
		{"extends nothing", "[root.a]\nextends=\"b\"\n", ":2:1: root.a.extends: there is no [root.b]", ""},
		{"extends itself", "[root.a]\nextends=\"b\"\n[root.b]\nextends=\"a\"\n", "leads back to itself", ""},
		{"extends with a suite", base + "[root.b]\nextends=\"a\"\nsuite=\"x\"\n", ":5:1: root.b.suite: ", "[root.a]"},
		{"hooks in one pair of brackets", base + "[root.a.hooks]\nwhen=\"customize\"\nrun=\"x\"\n", ":3:9: root.a.hooks: it is one table", "[[root.a.hooks]]"},
		{"files in one pair of brackets, and nothing in it", base + "[root.a.files]\n", ":3:9: root.a.files: it is one table", "[[root.a.files]]"},
		{"variables of no hook", base + "[root.a.hooks.env]\nA=\"1\"\n", ":3:9: root.a.hooks: it is one table", "[[root.a.hooks]]"},
		{"an inline table", base + "hooks = { when = \"customize\", run = \"x\" }\n", ":3:9: root.a.hooks: want tables: [[root.a.hooks]]", ""},
		{"keys with dots", base + "sources.name = \"x\"\n", ":3:1: root.a.sources: it is one table", "[[root.a.sources]]"},
		{"an empty inline table in a list", base + "hooks = [{}]\n", "hooks[0].when: unknown moment", "customize"},
		{"two of a tag", base + "[root.b]\nsuite=\"x\"\ntag=\"a\"\n", ":5:1: root.b.tag: ", ""},
	} {
		t.Run(tt.summary, func(t *testing.T) {
			path := write(t, tt.text, "in", "x", "dir/x", "x", "big", strings.Repeat("x", maxFile+1))
			if err := os.Symlink("/etc/passwd", filepath.Join(filepath.Dir(path), "out")); err != nil {
				t.Fatal(err)
			}
			_, err := Read(path)
			e, ok := err.(*Error)
			if !ok {
				t.Fatalf("%v", err)
			}
			if text := strings.TrimPrefix(e.Error(), path); !strings.Contains(text, tt.want) {
				t.Errorf("%s\nwant %s", text, tt.want)
			}
			if strings.Contains(e.Error(), "pw@") || !strings.Contains(e.Hint(), tt.hint) {
				t.Errorf("hint %q, want %q", e.Hint(), tt.hint)
			}
		})
	}
}

// FuzzParse looks for panics: a recipe may be any bytes.
func FuzzParse(f *testing.F) {
	f.Add(whole)
	f.Add("[root.a]\nfiles=[{path='/x',content='y'}]\n[[root.a.hooks]]\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parse("rootctl.toml", []byte(text), func(string, int64) ([]byte, error) { return nil, nil })
		if err == nil && len(r.Roots) == 0 {
			t.Error("no root and no error")
		}
	})
}
