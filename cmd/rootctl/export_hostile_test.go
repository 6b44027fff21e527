package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/cache/oci"
	"github.com/rootctl/rootctl/internal/debootstrap"
)

// An architecture that is a path, a pattern or lines of configuration, and a suite that is a flag.
func TestImportHostileNames(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: a cache whose imports have devices and owners")
	}
	h := newHostileImport(t)
	good := tarOf(t, dir("."), named("file"))
	image := func(arch string) *testImage {
		i := imageOf(t, good)
		i.config.Architecture = arch
		i.manifest.Annotations = map[string]string{oci.SuiteKey: "bionic"}
		return i
	}
	for summary, arch := range map[string]string{"path": "/../../../../../../tmp/pwned", "pattern": "*", "lines": "amd64\nroot-users=me\n#", "flag": "-o"} {
		t.Run(summary, func(t *testing.T) {
			h.refused(t, image(arch).done(nil).folder(t), "no architecture")
			i := imageOf(t, good)
			i.platform = &oci.Platform{Architecture: arch, OS: "linux"}
			h.refused(t, i.done(nil).folder(t), "no architecture")
		})
	}
	for _, suite := range []string{"-o", "..", ".x", "a/b", "a\nb"} {
		if got := oneWord(suite); got != "" {
			t.Errorf("suite %q is let through", suite)
		}
	}
}

// The record of a cache that was restored from elsewhere says such things all the same.
func TestExportHostileRecord(t *testing.T) {
	e := newExported(t)
	store, err := cache.Open(e.dir, cache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range []struct{ suite, arch string }{
		{"bionic", "/../../../../../../" + e.work + "/pwned"}, {"bionic", "amd64\nroot-users=me\n#"}, {"-o", "amd64"}, {"../x", "amd64"}, {"", ""},
	} {
		ref, err := store.Ref("fixture")
		if err != nil {
			t.Fatal(err)
		}
		var info map[string]any
		if err := json.Unmarshal(ref.Info, &info); err != nil {
			t.Fatal(err)
		}
		info["suite"], info["arch"] = change.suite, change.arch
		if ref.Info, err = json.Marshal(info); err != nil {
			t.Fatal(err)
		}
		if err := store.SetRef(ref, nil); err != nil {
			t.Fatal(err)
		}
		home := t.TempDir()
		c := e.command(e.dir, "export", "fixture", "--for", "sbuild")
		c.Env = append(os.Environ(), "HOME="+home, "XDG_CACHE_HOME=", "SUDO_UID=", "ROOTCTL_CACHE="+e.dir)
		out, err := c.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "hint: ") || len(e.left(t)) > 0 {
			t.Errorf("%q: %v, left %v\n%s", change, err, e.left(t), out)
		}
		if _, err := os.Stat(filepath.Join(home, ".cache")); err == nil {
			t.Errorf("%q: something was made", change)
		}
	}
}

func TestSchrootStanzaHostile(t *testing.T) {
	root := strings.Repeat("0", 64)
	for _, i := range []debootstrap.Info{{Suite: "bionic", Arch: "amd64\nroot-users=me\n#"}, {Suite: "b\r[x]", Arch: "amd64"}} {
		if text, err := schrootStanza("x", "/srv/x", i, root, nil); err == nil {
			t.Errorf("written: %q", text)
		}
	}
	if text, err := schrootStanza("x", "/srv/x\nroot-users=me", debootstrap.Info{}, root, nil); err == nil {
		t.Errorf("written: %q", text)
	}
	if _, err := schrootStanza("x", "/srv/x", debootstrap.Info{Suite: "bionic", Arch: "amd64"}, root, nil); err != nil {
		t.Error(err)
	}
}

// What the user behind sudo has linked elsewhere is not written as root.
func TestExportSudoLinks(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it acts for another user")
	}
	u, err := user.LookupId("65534")
	if err != nil {
		t.Fatal(err)
	}
	victim, home := t.TempDir(), t.TempDir()
	for _, d := range []string{victim, home, filepath.Dir(victim)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(victim+"/shadow", []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim+"/shadow", home+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(home, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if err := as(u, func() error { return os.Mkdir(victim+"/sbuild", 0o755) }); err == nil {
		t.Error("a folder was made in root's")
	}
	a := &app{}
	write := func(path string) error {
		out, err := a.createOutputAs(t.Context(), path, u)
		if err != nil {
			return err
		}
		defer out.close()
		_, err = out.Write([]byte("x"))
		return errors.Join(err, out.finish())
	}
	if err := write(home + "/link"); err == nil {
		t.Error("root's file was replaced")
	}
	if b, _ := os.ReadFile(victim + "/shadow"); string(b) != "secret" {
		t.Errorf("shadow is %q", b)
	}
	for range 2 {
		if err := write(home + "/own"); err != nil {
			t.Error(err)
		}
	}
	if st, err := os.Stat(home + "/own"); err != nil || st.Sys().(*syscall.Stat_t).Uid != 65534 {
		t.Error("own file", err, st)
	}
}
