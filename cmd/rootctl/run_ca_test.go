package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/runner"
)

// TestCAFile: the authorities of --ca-file are inside, beside the root's own.
func TestCAFile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: containers")
	}
	f := newFixture(t)
	dir := filepath.Join(t.TempDir(), "cache")
	f.build(t, dir)
	mine := filepath.Join(t.TempDir(), "ours.pem")
	pem := "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
	if err := os.WriteFile(mine, []byte(pem), 0o644); err != nil {
		t.Fatal(err)
	}
	script := "cat /etc/ssl/certs/ca-certificates.crt; echo $SSL_CERT_FILE $CURL_CA_BUNDLE"
	run := func(args ...string) (string, string, int) {
		return outcome(t, f.command(dir, append([]string{"run", "-q", "--no-build"}, args...)...))
	}
	out, errs, code := run("--net=host", "--ca-file", mine, "--env", "CURL_CA_BUNDLE=/mine", "fixture", "sh", "-c", script)
	if code != 0 || out != pem+"/etc/ssl/certs/ca-certificates.crt /mine\n" {
		t.Errorf("code %d: %q %s", code, out, errs)
	}
	if out, _, _ := run("--ca-file", mine, "fixture", "sh", "-c", script); out != "\n" {
		t.Errorf("without a network: %q", out)
	}
	if _, errs, code := run("--net=host", "--ca-file", "/etc/passwd", "fixture", "true"); code != 125 || !strings.Contains(errs, "holds no certificate") {
		t.Errorf("code %d: %s", code, errs)
	}
	// A root with authorities, and some with a trap in their place.
	for name, x := range map[string]struct {
		make func(tree string) error
		want string
	}{
		"own": {func(tree string) error {
			return os.WriteFile(filepath.Join(tree, caBundle), []byte("own"), 0o644)
		}, "own\n" + pem},
		"link": {func(tree string) error { return os.Symlink("/etc/shadow", filepath.Join(tree, caBundle)) }, ""},
		"pipe": {func(tree string) error { return unix.Mkfifo(filepath.Join(tree, caBundle), 0o644) }, ""},
	} {
		tree := t.TempDir()
		err := errors.Join(os.MkdirAll(filepath.Join(tree, "etc/ssl/certs"), 0o755), x.make(tree))
		if err != nil {
			t.Fatal(err)
		}
		s := runner.Spec{Net: "host"}
		err = putCA(mine, &s, tree)
		if (err == nil) != (x.want != "") || err == nil && string(s.Files[0].Data) != x.want {
			t.Errorf("%s: %v, %+v", name, err, s.Files)
		}
	}
}
