package testarchive

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// HostArch is the host's Debian architecture, which Host's packages have.
func HostArch(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("dpkg", "--print-architecture").Output()
	if err != nil {
		t.Skipf("needs dpkg: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// Host returns packages made from the host's own dpkg, dash, bash, tar, coreutils and the libraries
// they need, shaped like a minbase, so that the real dpkg configures a fixture root offline:
//
//	required   base-files base-passwd bash coreutils dash diffutils dpkg grep libc-bin libc6 sed tar
//	important  apt (a placeholder)
//	optional   build-essential, hello (placeholders)
//
// Paths are those of an unmerged archive (/bin/sh, /lib/...), as Debian's were up to bookworm: they
// make a merged root where the links are there first, else an unmerged one. It skips the test where
// the host is neither Debian nor a derivative.
func Host(t testing.TB) []Package {
	t.Helper()
	h := &host{t: t, arch: HostArch(t)}
	packages := []Package{
		h.baseFiles(), h.basePasswd(),
		h.programs("bash", nil, "/bin/bash"),
		h.programs("coreutils", []string{"Essential"}, coreutils...),
		h.dash(),
		h.programs("diffutils", []string{"Essential"}, "/usr/bin/diff", "/usr/bin/cmp"),
		h.dpkg(),
		h.programs("grep", []string{"Essential"}, "/bin/grep"),
		h.programs("sed", []string{"Essential"}, "/bin/sed"),
		h.programs("tar", []string{"Essential"}, "/bin/tar"),
	}
	packages = append(packages, h.libcBin(), h.libc())
	for i := range packages {
		packages[i].Fields["Priority"] = "required"
		packages[i].Fields["Section"] = "base"
	}
	return append(packages,
		placeholder("apt", "important", h.arch, "adduser | base-passwd, libc6"),
		placeholder("build-essential", "optional", h.arch, "dpkg"),
		placeholder("hello", "optional", h.arch, "libc6 (>= 1.0)"))
}

// coreutils are the programs that maintainer scripts and the tests of the runner call.
var coreutils = []string{
	"/bin/cat", "/bin/chgrp", "/bin/chmod", "/bin/chown", "/bin/cp", "/bin/date", "/bin/echo", "/bin/false",
	"/bin/ln", "/bin/ls", "/bin/mkdir", "/bin/mknod", "/bin/mktemp", "/bin/mv", "/bin/pwd", "/bin/readlink",
	"/bin/rm", "/bin/rmdir", "/bin/sleep", "/bin/sync", "/bin/touch", "/bin/true", "/bin/uname",
	"/usr/bin/basename", "/usr/bin/cut", "/usr/bin/dirname", "/usr/bin/env", "/usr/bin/head", "/usr/bin/id",
	"/usr/bin/install", "/usr/bin/printf", "/usr/bin/seq", "/usr/bin/sort", "/usr/bin/stat", "/usr/bin/tail",
	"/usr/bin/test", "/usr/bin/tr", "/usr/bin/tty", "/usr/bin/wc", "/usr/bin/whoami", "/usr/sbin/chroot",
}

type host struct {
	t     testing.TB
	arch  string
	files []string // ELF programs so far, whose libraries are wanted
	paths []string // of those libraries, once resolve has run
}

func placeholder(name, priority, arch, depends string) Package {
	return Package{
		Name: name, Arch: arch, Compression: "gz",
		Fields: map[string]string{"Priority": priority, "Section": "admin", "Depends": depends},
		Files: []File{
			{Name: "usr/bin/" + name, Body: "#!/bin/sh\necho " + name + " of a fixture archive\n"},
			{Name: "usr/share/doc/" + name + "/copyright", Body: "public domain\n"},
		},
	}
}

// program packs the host's program under the given path; a symlink is followed, and a wrapper script
// whose real program lies beside it (Ubuntu's ldconfig) is replaced by that.
func (h *host) program(path string) File {
	name := filepath.Base(path)
	var body []byte
	for _, dir := range []string{filepath.Dir(path), "/usr/bin", "/bin", "/usr/sbin", "/sbin"} {
		for _, try := range []string{name + ".real", name} {
			full := filepath.Join(dir, try)
			b, err := os.ReadFile(full)
			if err != nil {
				continue
			}
			body = b
			if bytes.HasPrefix(b, []byte("\x7fELF")) {
				h.files = append(h.files, full)
			}
			return File{Name: strings.TrimPrefix(path, "/"), Body: string(body), Mode: 0o755}
		}
	}
	h.t.Skipf("needs %s: not on this host", name)
	return File{}
}

// programs makes a package of programs; flags name control fields set to yes.
func (h *host) programs(pkg string, flags []string, paths ...string) Package {
	p := Package{
		Name: pkg, Version: "1.0", Arch: h.arch, Compression: "none",
		Fields: map[string]string{"Pre-Depends": "libc6 (>= 1.0)"},
	}
	for _, f := range flags {
		p.Fields[f] = "yes"
	}
	for _, path := range paths {
		p.Files = append(p.Files, h.program(path))
	}
	return p
}

func (h *host) dash() Package {
	p := h.programs("dash", []string{"Essential"}, "/bin/dash")
	p.Files = append(p.Files, File{Name: "bin/sh", Link: "dash"})
	p.Scripts = map[string]string{"postinst": "#!/bin/sh\nset -e\ntest -x /bin/sh\n"}
	return p
}

func (h *host) dpkg() Package {
	p := h.programs("dpkg", []string{"Essential"},
		"/usr/bin/dpkg", "/usr/bin/dpkg-deb", "/usr/bin/dpkg-divert", "/usr/bin/dpkg-query", "/usr/bin/dpkg-split",
		"/usr/bin/dpkg-statoverride", "/usr/bin/dpkg-trigger", "/usr/bin/dpkg-maintscript-helper",
		"/usr/bin/update-alternatives", "/sbin/start-stop-daemon")
	out, err := exec.Command("dpkg-query", "-W", "-f", "${Version}", "dpkg").Output()
	if err != nil {
		h.t.Skipf("needs dpkg: %v", err)
	}
	p.Version = string(out)
	p.Fields["Depends"] = "tar"
	for _, table := range []string{"cputable", "ostable", "tupletable"} {
		if b, err := os.ReadFile("/usr/share/dpkg/" + table); err == nil {
			p.Files = append(p.Files, File{Name: "usr/share/dpkg/" + table, Body: string(b)})
		}
	}
	if b, err := os.ReadFile("/usr/share/dpkg/sh/dpkg-error.sh"); err == nil {
		p.Files = append(p.Files, File{Name: "usr/share/dpkg/sh/dpkg-error.sh", Body: string(b)})
	}
	p.Files = append(p.Files,
		File{Name: "etc/dpkg/dpkg.cfg", Body: "# dpkg configuration\nno-debsig\nlog /var/log/dpkg.log\n"},
		File{Name: "etc/alternatives/README", Body: "managed by update-alternatives\n"},
		File{Name: "var/lib/dpkg/alternatives/"}, File{Name: "var/lib/dpkg/info/"},
		File{Name: "var/lib/dpkg/parts/"}, File{Name: "var/lib/dpkg/updates/"})
	p.Scripts = map[string]string{
		"conffiles": "/etc/dpkg/dpkg.cfg\n/etc/alternatives/README\n",
		"postinst":  "#!/bin/sh\nset -e\nif [ \"$1\" = configure ] && [ ! -e /var/log/dpkg.log ]; then\n\ttouch /var/log/dpkg.log\n\tchmod 644 /var/log/dpkg.log\nfi\n",
	}
	return p
}

func (h *host) baseFiles() Package {
	p := Package{
		Name: "base-files", Version: "1.0", Arch: h.arch, Compression: "xz",
		Fields: map[string]string{"Essential": "yes", "Pre-Depends": "dash"},
		Scripts: map[string]string{
			"conffiles": "/etc/debian_version\n/etc/issue\n",
			"postinst":  "#!/bin/sh\nset -e\nif [ \"$1\" = configure ] && [ -z \"$2\" ]; then\n\tif [ ! -e /etc/profile ]; then cp -p /usr/share/base-files/profile /etc/profile; fi\n\tif [ ! -d /var/mail ]; then mkdir -p /var/mail; chown root:mail /var/mail; chmod 2775 /var/mail; fi\nfi\n",
		},
	}
	for _, dir := range strings.Fields("bin boot dev etc home lib proc root run sbin sys tmp usr/bin usr/games usr/include " +
		"usr/lib usr/sbin usr/share/doc usr/src var/backups var/cache var/lib/misc var/local var/lock var/log var/spool var/tmp") {
		f := File{Name: dir + "/"}
		switch dir {
		case "root":
			f.Mode = 0o700
		case "tmp", "var/tmp", "var/lock":
			f.Mode = 0o1777
		case "var/local":
			f.Mode, f.GID, f.Group = 0o2775, 50, "staff"
		}
		p.Files = append(p.Files, f)
	}
	p.Files = append(p.Files,
		File{Name: "var/run", Link: "/run"},
		File{Name: "etc/debian_version", Body: "fixture\n"},
		File{Name: "etc/issue", Body: "Fixture \\n \\l\n\n"},
		File{Name: "etc/os-release", Link: "../usr/lib/os-release"},
		File{Name: "usr/lib/os-release", Body: "PRETTY_NAME=\"Fixture\"\nNAME=\"Fixture\"\nID=fixture\n"},
		File{Name: "usr/share/base-files/profile", Body: "# /etc/profile\n"},
	)
	return p
}

const passwdMaster = `root:*:0:0:root:/root:/bin/bash
daemon:*:1:1:daemon:/usr/sbin:/usr/sbin/nologin
bin:*:2:2:bin:/bin:/usr/sbin/nologin
sys:*:3:3:sys:/dev:/usr/sbin/nologin
man:*:6:12:man:/var/cache/man:/usr/sbin/nologin
mail:*:8:8:mail:/var/mail:/usr/sbin/nologin
www-data:*:33:33:www-data:/var/www:/usr/sbin/nologin
nobody:*:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
`

const groupMaster = `root:*:0:
daemon:*:1:
bin:*:2:
sys:*:3:
adm:*:4:
tty:*:5:
disk:*:6:
mail:*:8:
man:*:12:
www-data:*:33:
shadow:*:42:
utmp:*:43:
staff:*:50:
nogroup:*:65534:
`

// basePasswd has a preinst, which is where the real one makes the two files.
func (h *host) basePasswd() Package {
	script := "#!/bin/sh\nset -e\nif [ ! -e /etc/passwd ]; then\n\tcat > /etc/passwd <<'EOF'\n" + passwdMaster +
		"EOF\nfi\nif [ ! -e /etc/group ]; then\n\tcat > /etc/group <<'EOF'\n" + groupMaster + "EOF\nfi\n"
	return Package{
		Name: "base-passwd", Version: "1.0", Arch: h.arch, Compression: "xz",
		Fields:  map[string]string{"Essential": "yes", "Pre-Depends": "libc6", "Multi-Arch": "foreign"},
		Scripts: map[string]string{"preinst": script, "postinst": "#!/bin/sh\nset -e\ntest -s /etc/passwd\n"},
		Files: []File{
			{Name: "usr/share/base-passwd/passwd.master", Body: passwdMaster},
			{Name: "usr/share/base-passwd/group.master", Body: groupMaster},
		},
	}
}

// libcBin has a trigger, as the real one does.
func (h *host) libcBin() Package {
	p := h.programs("libc-bin", []string{"Essential"}, "/sbin/ldconfig")
	p.Fields["Depends"] = "libc6"
	p.Files = append(p.Files,
		File{Name: "etc/ld.so.conf", Body: "include /etc/ld.so.conf.d/*.conf\n"},
		File{Name: "etc/ld.so.conf.d/fixture.conf", Body: strings.Join(h.libraryDirs(), "\n") + "\n"},
		File{Name: "etc/nsswitch.conf", Body: "passwd: files\ngroup: files\n"})
	p.Scripts = map[string]string{
		"conffiles": "/etc/ld.so.conf\n/etc/ld.so.conf.d/fixture.conf\n",
		"triggers":  "interest-noawait ldconfig\n",
		"postinst":  "#!/bin/sh\nset -e\nif [ \"$1\" = triggered ] || [ \"$1\" = configure ]; then\n\tldconfig\nfi\n",
	}
	return p
}

func (h *host) libc() Package {
	return Package{
		Name: "libc6", Version: "2.0", Arch: h.arch, Compression: "gz", Files: h.libraries(),
		Fields: map[string]string{"Multi-Arch": "same"},
		Scripts: map[string]string{
			"triggers": "activate-noawait ldconfig\n",
			"postinst": "#!/bin/sh\nset -e\nexit 0\n",
		},
	}
}

var lddLine = regexp.MustCompile(`(?:\S+ => )?(/\S+) \(0x`)

// libraries returns what the packed programs need: each library under the name by which the loader
// asks for it, in the folder where the host has it with a leading /usr taken off.
func (h *host) libraries() []File {
	var files []File
	for _, p := range h.resolve() {
		body, err := os.ReadFile(p)
		if err != nil {
			h.t.Fatalf("testarchive: library of the host: %v", err)
		}
		files = append(files, File{Name: unmerged(p), Body: string(body), Mode: 0o755})
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return slices.CompactFunc(files, func(a, b File) bool { return a.Name == b.Name })
}

// resolve lists the paths of libraries as ldd names them, the loader's among them. All programs must
// have been packed.
func (h *host) resolve() []string {
	if h.paths != nil {
		return h.paths
	}
	slices.Sort(h.files)
	cmd := exec.Command("ldd", slices.Compact(h.files)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput() // fails when one program is static, as ldconfig is
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		if m := lddLine.FindStringSubmatch(s.Text()); m != nil {
			h.paths = append(h.paths, m[1])
		}
	}
	if len(h.paths) == 0 {
		h.t.Fatalf("testarchive: ldd: %v\n%s", err, out)
	}
	slices.Sort(h.paths)
	h.paths = slices.Compact(h.paths)
	return h.paths
}

func (h *host) libraryDirs() []string {
	var dirs []string
	for _, p := range h.resolve() {
		dirs = append(dirs, "/"+filepath.Dir(unmerged(p)))
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

func unmerged(p string) string {
	p = strings.TrimPrefix(p, "/")
	if rest, ok := strings.CutPrefix(p, "usr/"); ok && strings.HasPrefix(rest, "lib") {
		return rest
	}
	return p
}

// HostArchive is an archive of Host's packages for the host's architecture.
func HostArchive(t testing.TB, suite string) *Archive {
	t.Helper()
	a := New(suite)
	a.Arches = []string{HostArch(t)}
	return a.Add(Host(t)...)
}

// String names the package as dpkg does, for messages of tests.
func (p Package) String() string { return fmt.Sprintf("%s_%s_%s", p.Name, p.Version, p.Arch) }
