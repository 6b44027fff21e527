package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// toolsArchive is somebody else's: a tool with what it needs, a newer hello, and a dpkg that is not to come into a root.
func toolsArchive(arch string) *testarchive.Archive {
	a := testarchive.New("stable")
	a.Key = testarchive.NewKey("tools")
	a.Arches = []string{arch}
	a.Add(testarchive.Package{Name: "tool", Version: "1.2", Arch: arch, Fields: map[string]string{"Depends": "tool-data, hello"}},
		testarchive.Package{Name: "tool-data", Version: "1.2", Arch: arch},
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
