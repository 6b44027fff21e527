package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	maintainer = "rootctl maintainers <rootctl@users.noreply.github.com>"
	homepage   = "https://github.com/rootctl/rootctl"
)

// A product is what goes into the package.
type product struct {
	version, revision, arch string
	program, manual         string // paths
	time                    time.Time
}

// versionOK is Debian policy 5.6.12 for a version without a revision of its own: the package is native.
var versionOK = regexp.MustCompile(`^[0-9][A-Za-z0-9.+~]*$`)

// deb is the package's bytes.
func (p *product) deb() ([]byte, error) {
	if !versionOK.MatchString(p.version) {
		return nil, fmt.Errorf("%q is no version of a native package", p.version)
	}
	if p.arch == "" || p.program == "" || p.manual == "" {
		return nil, errors.New("--arch, --program and --manual are needed")
	}
	files, err := p.files()
	if err != nil {
		return nil, err
	}
	data, err := members(files, p.time)
	if err != nil {
		return nil, err
	}
	control, err := members([]file{
		{path: "control", mode: 0o644, text: p.control(installedSize(files))},
		{path: "md5sums", mode: 0o644, text: md5sums(files)},
	}, p.time)
	if err != nil {
		return nil, err
	}
	return archive(control, data, p.time), nil
}

// files are the package's, sorted.
func (p *product) files() ([]file, error) {
	program, err := os.ReadFile(p.program)
	if err != nil {
		return nil, err
	}
	notices, err := p.notices()
	if err != nil {
		return nil, err
	}
	const doc = "usr/share/doc/rootctl/"
	files := []file{
		{path: "usr/bin/rootctl", mode: 0o755, text: program},
		{path: "usr/bin/rootctl-shell", mode: 0o777, link: "rootctl"}, // a step's shell, by the name that it is called
		{path: "usr/share/man/man1/rootctl-shell.1.gz", mode: 0o777, link: "rootctl-ci-shell.1.gz"},
		{path: doc + "copyright", mode: 0o644, text: fmt.Appendf(nil, copyright, p.time.Year())},
		{path: doc + "third-party.gz", mode: 0o644, text: zip(notices)},
		{path: doc + "changelog.gz", mode: 0o644, text: zip(p.changelog())},
		{path: "usr/share/lintian/overrides/rootctl", mode: 0o644, text: []byte(overrides)},
	}
	for from, to := range map[string]string{
		"bash/rootctl":      "usr/share/bash-completion/completions/rootctl",
		"zsh/_rootctl":      "usr/share/zsh/vendor-completions/_rootctl",
		"fish/rootctl.fish": "usr/share/fish/vendor_completions.d/rootctl.fish",
	} {
		text, err := os.ReadFile(filepath.Join(p.manual, from))
		if err != nil {
			return nil, err
		}
		files = append(files, file{path: to, mode: 0o644, text: text})
	}
	pages, err := filepath.Glob(filepath.Join(p.manual, "man1", "*.1"))
	if err != nil || len(pages) == 0 {
		return nil, fmt.Errorf("no man pages in %s", p.manual)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			return nil, err
		}
		files = append(files, file{path: "usr/share/man/man1/" + filepath.Base(page) + ".gz", mode: 0o644, text: zip(text)})
	}
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.path, b.path) })
	return files, nil
}

// overrides say what lintian cannot know: a program without libc is static on purpose.
const overrides = `# written in Go without cgo: no shared library is needed
rootctl: statically-linked-binary [usr/bin/rootctl]
# it writes the databases of the roots that it makes
rootctl: uses-dpkg-database-directly [usr/bin/rootctl]
# a word of a library's
rootctl: spelling-error-in-binary Prefered Preferred [usr/bin/rootctl]
`

// control is the binary package's paragraph, policy 5.3. The program is static: nothing has to be there, and what it
// calls where the kernel alone will not do is recommended.
func (p *product) control(kib int64) []byte {
	return fmt.Appendf(nil, `Package: rootctl
Version: %s
Architecture: %s
Maintainer: %s
Installed-Size: %d
Recommends: ca-certificates, passt | slirp4netns, uidmap
Suggests: nftables, qemu-user-static
Section: admin
Priority: optional
Homepage: %s
Description: Debian and Ubuntu root filesystems, cached and run in fresh copies
 rootctl makes root filesystems of Debian and Ubuntu suites from their
 archives, with all signatures checked and without debootstrap, keeps them in
 a content-addressed cache, and runs commands in fresh, isolated copies of
 them. A copy takes milliseconds and is gone on exit.
 .
 It works as root and, with the id ranges of uidmap, for ordinary users.
`, p.version, p.arch, maintainer, kib, homepage)
}

// changelog has the one entry that a package of a commit can have.
func (p *product) changelog() []byte {
	what := "Built from the sources."
	if p.revision != "" {
		what = "Built from commit " + p.revision + "."
	}
	return fmt.Appendf(nil, "rootctl (%s) unstable; urgency=medium\n\n  * %s\n\n -- %s  %s\n", p.version, what, maintainer, p.time.Format(time.RFC1123Z))
}

// copyright is in the format that Debian's tools read. The Apache licence's text is part of every Debian system.
const copyright = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: rootctl
Source: ` + homepage + `
Comment: What others wrote and is part of the program has its licences in
 /usr/share/doc/rootctl/third-party.gz.

Files: *
Copyright: %d the rootctl authors
License: Apache-2.0
 On Debian systems the full text of the Apache License, version 2.0, is in
 /usr/share/common-licenses/Apache-2.0.
`
