//go:build e2e_export

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestE2EExportRegistry has skopeo copy a pushed image, and podman pull and run it. What skopeo copied is imported as the
// same root.
func TestE2EExportRegistry(t *testing.T) {
	r, b := exportReal(t)
	reg := startRegistry(t, registryWith{tls: true, login: true})
	auth := filepath.Join(dockerConfig(t, reg.host, "s3cret-w0rd"), "config.json")
	t.Setenv("DOCKER_CONFIG", filepath.Dir(auth))
	ref := reg.host + "/roots:capped"
	r.must(t, "push", "--ca-file", reg.ca, "capped", ref)
	work := t.TempDir()
	pem, err := os.ReadFile(reg.ca)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(work, "ca.crt"), pem, 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(work, "copy.oci.tar")
	sh(t, work, nil, "skopeo copy -q --authfile '"+auth+"' --src-cert-dir '"+work+"' 'docker://"+ref+"' 'oci-archive:"+file+":copy'")
	if out := r.must(t, "import", file, "--tag", "copied"); !strings.Contains(out+r.must(t, "show", "copied", "--json"), strings.TrimPrefix(b.Digest, "sha256:")) {
		t.Errorf("skopeo's copy is another root: %s", out)
	}
	p := newPodman(t)
	p.run(t, "pull", "-q", "--authfile", auth, "--cert-dir", work, ref)
	out := p.run(t, "run", "--rm", "--cgroups=disabled", "--network=none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", ref,
		"sh", "-c", ". /etc/os-release; echo $VERSION_CODENAME; getcap /usr/bin/ping")
	if out != "bookworm\n/usr/bin/ping cap_net_raw=ep\n" {
		t.Errorf("podman run: %q", out)
	}
	p.run(t, "rmi", "-f", ref)
}
