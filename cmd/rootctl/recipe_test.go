package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// toolsArchive is somebody else's: a tool with what it needs, an older hello, what would take its file, and a dpkg that is not to come into a root.
func toolsArchive(arch string) *testarchive.Archive {
	a := testarchive.New("stable")
	a.Key = testarchive.NewKey("tools")
	a.Arches = []string{arch}
	a.Add(testarchive.Package{Name: "tool", Version: "1.2", Arch: arch, Fields: map[string]string{"Depends": "tool-data, hello"}},
		testarchive.Package{Name: "tool-data", Version: "1.2", Arch: arch},
		testarchive.Package{Name: "grabber", Version: "1", Arch: arch, Files: []testarchive.File{{Name: "usr/bin/hello", Body: "#!/bin/sh\necho grabbed\n", Mode: 0o755}}},
		testarchive.Package{Name: "hello", Version: "0.1", Arch: arch},
		testarchive.Package{Name: "unwanted", Version: "1", Arch: arch, Fields: map[string]string{"Priority": "required", "Essential": "yes"}},
		testarchive.Package{Name: "dpkg", Version: "99", Arch: arch, Fields: map[string]string{"Priority": "required"}})
	return a
}

// toolsEnv serves it and writes its key, and another's, to files.
func toolsEnv(t *testing.T, arch string) map[string]string {
	t.Helper()
	a := toolsArchive(arch)
	env := map[string]string{"TOOLS": a.Serve(t).URL}
	for name, text := range map[string][]byte{"TOOLS_KEY": a.Key.Armored(), "OTHER_KEY": testarchive.NewKey("somebody").Armored()} {
		env[name] = filepath.Join(t.TempDir(), name+".asc")
		if err := os.WriteFile(env[name], text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return env
}

const ownersRecipe = `
[root.base]
suite = "bionic"
include = ["hello"]
files = [{ path = "/etc/secret", content = "s", mode = "0640", owner = "6:8" }]
[[root.base.hooks]]
when = "setup"
run = "test ! -e /etc/secret; mkdir /etc/early; chmod 2750 /etc/early"
[[root.base.hooks]]
when = "customize"
run = "mkdir -p /srv/own; cp /bin/sh /srv/own/sh; chown -R 1000:1001 /srv/own; chmod 4755 /srv/own/sh; ln -s sh /srv/own/link; chown -h 7:7 /srv/own/link; ln /srv/own/sh /srv/own/hard"

[root.child]
extends = "base"
[[root.child.hooks]]
when = "customize"
run = "ls -ln /etc/secret /srv/own >/etc/seen; chown 5:5 /srv/own/hard"
`

// The roots of a recipe are the same bytes whoever builds them: root, a user with id ranges, one with a single id.
func TestRootlessRecipe(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: another user's processes")
	}
	f := newFixture(t)
	file := filepath.Join(t.TempDir(), "rootctl.toml")
	if err := os.WriteFile(file, []byte(ownersRecipe), 0o644); err != nil {
		t.Fatal(err)
	}
	digests := func(out string) (all []string) {
		var built []buildReport
		if err := json.Unmarshal([]byte(out), &built); err != nil || len(built) != 2 {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, b := range built {
			all = append(all, b.Name+" "+b.Digest)
		}
		return all
	}
	args := slices.Concat([]string{"build", "--json", "--file", file}, f.args[1:6])
	out, errs, code := outcome(t, f.command(filepath.Join(t.TempDir(), "cache"), args...))
	if code != 0 {
		t.Fatalf("as root: %d\n%s%s", code, out, errs)
	}
	want := fmt.Sprint(digests(out))
	for _, single := range []bool{false, true} {
		t.Run(fmt.Sprintf("single id %v", single), func(t *testing.T) {
			o := f.as(t, single)
			own := o.bring(t, file)
			out := o.must(t, slices.Concat([]string{"build", "--json", "--file", own}, o.args[1:6])...)
			if got := fmt.Sprint(digests(out)); got != want {
				t.Errorf("%s, want %s", got, want)
			}
			seen := o.must(t, slices.Concat([]string{"run", "--file", own}, o.args[4:6], []string{"child", "cat", "/etc/seen"})...)
			seen = strings.Join(strings.Fields(seen), " ")
			if !strings.Contains(seen, "-rw-r----- 1 6 8") || !strings.Contains(seen, "-rwsr-xr-x 2 1000 1001") {
				t.Errorf("the child's hook saw\n%s", seen)
			}
		})
	}
}

// A recipe's roots travel through a registry, and one that extends another comes alone.
func TestRegistryRecipe(t *testing.T) {
	w := newCIWorld(t)
	r := startRegistry(t, registryWith{})
	file := filepath.Join(t.TempDir(), "rootctl.toml")
	if err := os.WriteFile(file, []byte(ownersRecipe), 0o644); err != nil {
		t.Fatal(err)
	}
	made := func(cache string, args ...string) string {
		t.Helper()
		args = slices.Concat([]string{"build", "--file", file, "--cache-required"}, args, r.args, w.args[1:6])
		out, errs, code := w.do(cache, args...)
		if code != 0 {
			t.Fatalf("%v: %d\n%s%s", args, code, out, errs)
		}
		return out
	}
	one, two := t.TempDir(), t.TempDir()
	var all []buildReport
	if err := json.Unmarshal([]byte(made(one, "--json", "--cache-to", r.host+"/ci/roots")), &all); err != nil || len(all) != 2 {
		t.Fatal(err, all)
	}
	var child buildReport
	out := made(two, "--json", "--cache-from", r.host+"/ci/roots", "child")
	if err := json.Unmarshal([]byte(out), &child); err != nil || child.How != howPulled || child.Digest != all[1].Digest {
		t.Errorf("%v %+v, want %s", err, child, all[1].Digest)
	}
	made(two, "--json", "--cache-from", r.host+"/ci/roots", "child") // a hit, which forgets nothing
	said, errs, code := w.do(two, "provenance", "child")
	for _, want := range []string{`"pulled_from": "` + r.host + `/ci/roots"`, `"name": "file /etc/`, "hook "} {
		if !strings.Contains(said, want) {
			t.Errorf("provenance: %d, no %s in %s%s", code, want, said, errs)
		}
	}
	roots, err := filepath.Glob(filepath.Join(two, "roots", "*.mtree"))
	if err != nil || len(roots) != 1 {
		t.Errorf("the second machine has the roots %v, %v", roots, err)
	}
	w.cleanLeft(two)
}
