//go:build e2e_export

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rootctl/rootctl/internal/cache"
)

// These use other people's programs on roots of the real archive: `make e2e-export`.

// exportReal is a bookworm with file capabilities.
func exportReal(t *testing.T) (*real, buildReport) {
	t.Helper()
	t.Setenv("ROOTCTL_E2E", "1")
	r := newReal(t)
	return r, r.buildSuite(t, "--include", "iputils-ping,libcap2-bin", "--tag", "capped", "bookworm")
}

func sh(t *testing.T, dir string, env []string, script string) string {
	t.Helper()
	c := exec.Command("sh", "-ec", script)
	c.Dir, c.Env = dir, append(os.Environ(), env...)
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s\n%v\n%s%s", script, err, out, errs.String())
	}
	return string(out)
}

// The tarball unpacked by GNU tar, bsdtar and podman import is the root: all that the mtree says, devices,
// capabilities and hard links included, and what run sees.
func TestE2EExportUnpacked(t *testing.T) {
	r, b := exportReal(t)
	m := manifestOf(t, r.dir, b.Digest)
	devices, caps, links := census(m)
	if devices < 8 || caps < 1 || links < 2 {
		t.Fatalf("the root has %d devices, %d capabilities, %d hard links: too few to lose", devices, caps, links)
	}
	work := t.TempDir()
	file := filepath.Join(work, "r.tar.zst")
	r.must(t, "export", "capped", "-o", file)
	p := newPodman(t)
	for _, tt := range []struct {
		tool   string
		unpack func(dir string) string
		mend   func(want, got *cache.Entry)
	}{
		{"GNU tar", func(dir string) string { gnuTar(t, file, dir); return dir }, nil},
		{"bsdtar", func(dir string) string {
			sh(t, dir, nil, "bsdtar --numeric-owner -xpf "+file)
			return dir
		}, topTime},
		{"podman import", func(string) string {
			p.run(t, "import", "-q", file, "imported")
			return strings.TrimSpace(p.run(t, "image", "mount", "localhost/imported"))
		}, topTime},
	} {
		t.Run(tt.tool, func(t *testing.T) {
			dir := filepath.Join(work, "d"+tt.tool[:1])
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			dir = tt.unpack(dir)
			t.Logf("%d entries alike, %d devices, %d capabilities, %d hard links", sameTree(t, m, dir, tt.mend), devices, caps, links)
			seesTheSame(t, r, dir)
		})
	}
}

// topTime lets pass that podman and bsdtar leave the topmost directory the time at which they wrote it.
func topTime(want, got *cache.Entry) {
	if want.Path == "." {
		got.MTime = want.MTime
	}
}

// seesTheSame compares what find, sha256sum and getcap say in a run and in a tree.
func seesTheSame(t *testing.T, r *real, dir string) {
	t.Helper()
	const look = `cd /; find . -xdev \( -path ./proc -o -path ./sys -o -path ./dev -o -path ./run \) -prune -o \( -path ./etc/hosts -o -path ./etc/hostname -o -path ./etc/resolv.conf \) ` +
		`-o -type d -printf '%p %y %m %U %G %l\n' -o -printf '%p %y %m %U %G %s %T@ %n %l\n' | sort; ` +
		`find . -xdev \( -path ./proc -o -path ./sys -o -path ./dev -o -path ./run -o -path ./etc/hosts -o -path ./etc/hostname -o -path ./etc/resolv.conf \) -prune -o -type f -print0 | sort -z | xargs -0 sha256sum; getcap -r /usr`
	inside := r.must(t, "run", "capped", "--", "sh", "-c", look)
	out, err := exec.Command("chroot", dir, "/bin/sh", "-c", look).Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(inside, "cap_net_raw") {
		t.Error("run sees no capability")
	}
	have := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		have[line] = true
	}
	n := 0
	for line := range strings.Lines(inside) {
		n++
		if !have[line] {
			t.Errorf("run sees %s", line)
		}
		delete(have, line)
	}
	for line := range have {
		t.Errorf("run does not see %s", line)
	}
	t.Logf("%d lines of find, sha256sum and getcap are those that run sees", n)
}

// podman with a store of its own. Where control groups of version 1 are mounted, its runtime may refuse to start: then
// it gets a mount namespace that shows version 2 alone.
type podman struct{ args []string }

func newPodman(t *testing.T) *podman {
	t.Helper()
	store := t.TempDir()
	t.Cleanup(func() {
		_ = exec.Command("podman", "--root", store+"/r", "--runroot", store+"/rr", "--storage-driver", "vfs", "image", "umount", "--all").Run()
	})
	return &podman{[]string{"--root", store + "/r", "--runroot", store + "/rr", "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"}}
}

// store is how skopeo names podman's store.
func (p *podman) store(image string) string {
	return fmt.Sprintf("containers-storage:[vfs@%s+%s]%s", p.args[1], p.args[3], image)
}

func (p *podman) run(t *testing.T, args ...string) string {
	t.Helper()
	script := "mount --make-rprivate / && { umount -R /sys/fs/cgroup 2>/dev/null || :; } && mount -t cgroup2 none /sys/fs/cgroup && exec podman \"$@\""
	argv := append([]string{"podman"}, append(p.args, args...)...)
	if args[0] == "run" {
		argv = append([]string{"unshare", "-m", "sh", "-c", script}, argv...)
	}
	c := exec.Command(argv[0], argv[1:]...)
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		t.Fatalf("podman %v: %v\n%s%s", args, err, out, errs.String())
	}
	return string(out)
}

// skopeo copies the cache's own layout, exported archives and folders, and podman runs them.
func TestE2EExportImage(t *testing.T) {
	r, b := exportReal(t)
	m := manifestOf(t, r.dir, b.Digest)
	work := t.TempDir()
	for _, f := range []struct{ name, compress string }{{"zstd.oci.tar", "zstd"}, {"gzip.oci.tar", "gzip"}, {"none.oci.tar", "none"}, {"folder/", "zstd"}} {
		r.must(t, "export", "capped", "--format", "oci", "--compress", f.compress, "-o", filepath.Join(work, f.name)+strings.Repeat("/", strings.Count(f.name, "/")))
	}
	p := newPodman(t)
	for i, from := range []string{"oci:" + filepath.Join(r.dir, "oci") + ":capped", "oci:" + work + "/folder:capped",
		"oci-archive:" + work + "/zstd.oci.tar", "oci-archive:" + work + "/gzip.oci.tar", "oci-archive:" + work + "/none.oci.tar"} {
		t.Run(from, func(t *testing.T) {
			image := fmt.Sprint("localhost/r", i, ":1")
			sh(t, work, nil, "skopeo copy -q '"+from+"' '"+p.store(image)+"'")
			var config struct {
				Architecture string
				Created      string
			}
			if err := json.Unmarshal([]byte(sh(t, work, nil, "skopeo inspect '"+from+"'")), &config); err != nil || config.Architecture != hostArch() {
				t.Errorf("skopeo inspect: %+v (%v)", config, err)
			}
			out := p.run(t, "run", "--rm", "--cgroups=disabled", "--network=none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", image,
				"sh", "-c", ". /etc/os-release; echo $VERSION_CODENAME; getcap /usr/bin/ping")
			if out != "bookworm\n/usr/bin/ping cap_net_raw=ep\n" {
				t.Errorf("podman run: %q", out)
			}
			dir := strings.TrimSpace(p.run(t, "image", "mount", image))
			t.Logf("%d entries alike", sameTree(t, m, dir, topTime))
			p.run(t, "image", "umount", image)
			p.run(t, "rmi", "-f", image)
		})
	}
}

// skopeo reads the cache's layout while names and images change.
func TestE2EExportLayoutWhileWritten(t *testing.T) {
	r, _ := exportReal(t)
	r.must(t, "export", "capped", "--compress", "zstd", "-o", "/dev/null")
	stop := make(chan struct{})
	done := make(chan int)
	go func() {
		n := 0
		defer func() { done <- n }()
		for ; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			for _, args := range [][]string{{"tag", "capped", fmt.Sprint("t", n%5)}, {"untag", fmt.Sprint("t", (n+3)%5)}} {
				c := r.command(r.dir, args...)
				_ = c.Run() // a name that is not there yet
			}
		}
	}()
	for range 60 {
		sh(t, r.dir, nil, "skopeo inspect --raw oci:"+r.dir+"/oci:capped")
	}
	close(stop)
	t.Logf("60 reads beside %d changes", <-done)
}

// sbuild builds a package in its unshare mode, as an ordinary user, from what --for sbuild wrote.
func TestE2EExportSbuild(t *testing.T) {
	t.Setenv("ROOTCTL_E2E", "1")
	r := newReal(t)
	r.buildSuite(t, "--variant", "buildd", "--include", "debhelper,help2man,texinfo,fakeroot", "--keep-mirror", "--tag", "building", "bookworm")
	home, err := os.MkdirTemp("", "rootctl-sbuild-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(home) //nolint:errcheck // a temporary folder
	r.must(t, "run", "--net=host", "--bind", home+":/src", "building", "--", "sh", "-ec",
		`cat /etc/apt/sources.list $(find /etc/apt/sources.list.d -type f) | sed -n "s/^deb /deb-src /p" >/etc/apt/sources.list.d/src.list
		apt-get -qq update; cd /src; apt-get -qq -o APT::Sandbox::User=root -d source hello`)
	export := r.command(r.dir, "export", "--for", "sbuild", "--json", "building")
	export.Env = append(export.Env, "HOME="+home, "XDG_CACHE_HOME=")
	var errs bytes.Buffer
	export.Stderr = &errs
	out, err := export.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	var rep exportReport
	if err := json.Unmarshal(out, &rep); err != nil || rep.Output != home+"/.cache/sbuild/bookworm-amd64.tar.zst" {
		t.Fatalf("wrote %+v (%v)", rep, err)
	}
	sh(t, home, nil, "chmod 755 . && chown -R rootctl-test: .")
	next := strings.Replace(rep.Next, "PACKAGE.dsc", "--no-apt-update --no-apt-upgrade --no-apt-distupgrade --no-run-lintian hello_*.dsc", 1)
	sh(t, home, nil, "setpriv --reuid rootctl-test --regid rootctl-test --init-groups env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin USER=rootctl-test LOGNAME=rootctl-test HOME="+home+" "+next)
	log := sh(t, home, nil, "cat hello_*_amd64.build") // a link to the last
	if !regexp.MustCompile(`(?m)^Status: successful$`).MatchString(log) {
		t.Errorf("sbuild:\n%s", log)
	}
	t.Log(strings.TrimSpace(sh(t, home, nil, "dpkg-deb -f hello_*_amd64.deb Package Version")))
}

// pbuilder's and schroot's ways.
func TestE2EExportSchroot(t *testing.T) {
	r, _ := exportReal(t)
	dir := filepath.Join(t.TempDir(), "rootctl-e2e")
	stanza := filepath.Join(schrootConfig, "rootctl-e2e")
	defer os.Remove(stanza) //nolint:errcheck // of the test
	r.must(t, "export", "--for", "schroot", "-o", dir, "capped")
	if out := sh(t, "/", nil, "schroot -c rootctl-e2e -u root -- sh -c '. /etc/os-release; echo $VERSION_CODENAME; touch /new'"); out != "bookworm\n" {
		t.Errorf("schroot: %q", out)
	}
	if _, err := os.Lstat(filepath.Join(dir, "new")); err == nil {
		t.Error("the session wrote to the chroot itself")
	}
	tgz := filepath.Join(t.TempDir(), "base.tgz")
	out := r.must(t, "export", "--for", "pbuilder", "-o", tgz, "--json", "capped")
	if !strings.Contains(out, "pbuilder build --basetgz "+tgz) {
		t.Errorf("pbuilder: %s", out)
	}
	m := manifestOf(t, r.dir, r.buildSuite(t, "--include", "iputils-ping,libcap2-bin", "--tag", "capped", "bookworm").Digest)
	place := t.TempDir()
	sh(t, place, nil, "tar -x -p -f "+tgz) // as pbuilder does, which knows of no attributes
	sameTree(t, m, place, func(want, got *cache.Entry) { got.Xattrs = want.Xattrs })
}
