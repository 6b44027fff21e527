package archive

import (
	"io"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"
)

const (
	maxSourceFile  = 1 << 20
	maxSourceFiles = 500
)

// HostMirrors returns the http and https mirrors that the host's own apt uses for a pocket of its
// distribution, in apt's order, to be tried for a suite of the same family. It reads os-release and
// apt's sources below root: one-line files, deb822 files, and the lists that mirror+file URIs name.
// Sources of third parties are left out. Whether a mirror has the suite is seen when its Release is
// asked for. The URLs may hold a password.
func HostMirrors(root fs.FS, family, pocket, arch string) []string {
	host := readHost(root)
	if host.id != family {
		return nil
	}
	var mirrors []string
	for _, s := range readSources(root) {
		if !host.owns(s, pocket, arch) {
			continue
		}
		for _, u := range s.uris {
			for _, m := range expand(root, u, arch) {
				m = strings.TrimRight(m, "/")
				if plainMirror(m) && portsFit(family, m, arch) && !slices.Contains(mirrors, m) {
					mirrors = append(mirrors, m)
				}
			}
		}
	}
	return mirrors
}

// host is what os-release says.
type host struct{ id, codename string }

func readHost(root fs.FS) (h host) {
	text := readSmall(root, "etc/os-release")
	if text == "" {
		text = readSmall(root, "usr/lib/os-release")
	}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.Trim(value, `"'`)
		switch name {
		case "ID":
			h.id = value
		case "VERSION_CODENAME":
			h.codename = value
		}
	}
	return h
}

// owns says whether a source is the distribution's own, has the pocket, and holds binaries of arch. A
// third party's has other suites, other components or a key of its own.
func (h host) owns(s source, pocket, arch string) bool {
	if !slices.Contains(s.components, "main") || len(s.archs) > 0 && !slices.Contains(s.archs, arch) || slices.Contains(s.notArchs, arch) {
		return false
	}
	for _, key := range s.signedBy {
		if isFingerprint(key) {
			continue // a key in some keyring: it says nothing of whose
		}
		name := path.Base(key)
		if !strings.HasPrefix(name, h.id+"-") || !strings.Contains(name, "archive") {
			return false
		}
	}
	for _, suite := range s.suites {
		if slices.Contains(h.pocketSuites(pocket), strings.Trim(suite, "/")) {
			return true
		}
	}
	return false
}

// isFingerprint holds for what Signed-By may name in the place of a file: 40 hexadecimal digits, an
// exclamation mark behind them for no subkey.
func isFingerprint(s string) bool {
	s = strings.TrimSuffix(s, "!")
	return len(s) == 40 && strings.Trim(s, "0123456789abcdefABCDEF") == ""
}

// pocketSuites are the suites whose mirrors hold the pocket. Debian's security archive has mirrors of
// its own; all else lies on one.
func (h host) pocketSuites(pocket string) (all []string) {
	bases := []string{h.codename}
	if h.id == "debian" {
		bases = append(bases, "oldoldstable", "oldstable", "stable", "testing", "unstable", "sid")
	}
	bases = slices.DeleteFunc(bases, func(b string) bool { return b == "" })
	for _, b := range bases {
		security := []string{b + "-security"}
		if h.id == "debian" {
			security = append(security, b+"/updates")
		}
		if h.id != "debian" || pocket != "security" {
			all = append(all, b, b+"-updates")
		}
		if h.id != "debian" || pocket == "security" {
			all = append(all, security...)
		}
	}
	return all
}

// portsFit leaves out Ubuntu mirrors whose name says that they lack arch: the Release is the same on
// both kinds, the packages are not.
func portsFit(family, mirror, arch string) bool {
	u, err := url.Parse(mirror)
	if err != nil || family != "ubuntu" {
		return err == nil
	}
	ports := path.Base(u.Path) == "ubuntu-ports"
	if arch == "amd64" || arch == "i386" {
		return !ports
	}
	return ports || path.Base(u.Path) != "ubuntu"
}

func plainMirror(m string) bool {
	return (strings.HasPrefix(m, "http://") || strings.HasPrefix(m, "https://")) && checkMirror(m) == nil
}

// expand gives the mirrors of a mirror+file URI's list in order of their priority, any other URI as it is.
func expand(root fs.FS, uri, arch string) []string {
	name, ok := strings.CutPrefix(uri, "mirror+file:")
	if !ok {
		return []string{uri}
	}
	if name, ok = strings.CutPrefix("/"+strings.TrimLeft(name, "/"), "/"); !ok || !fs.ValidPath(name) {
		return nil
	}
	type entry struct {
		url      string
		priority int
	}
	var list []entry
	for line := range strings.Lines(readSmall(root, name)) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0][0] == '#' {
			continue
		}
		e, fits, archs := entry{url: f[0], priority: 1 << 20}, true, []string(nil)
		for _, meta := range f[1:] {
			key, value, _ := strings.Cut(meta, ":")
			switch key {
			case "priority":
				e.priority = small(value)
			case "arch":
				archs = append(archs, value)
			case "type":
				fits = fits && !strings.HasPrefix(value, "deb-src")
			}
		}
		if fits && (archs == nil || slices.Contains(archs, arch)) {
			list = append(list, e)
		}
	}
	slices.SortStableFunc(list, func(a, b entry) int { return a.priority - b.priority })
	var urls []string
	for _, e := range list {
		urls = append(urls, e.url)
	}
	return urls
}

// small reads a number, 1<<20 if it is none or larger.
func small(s string) int {
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' || n > 1<<16 {
			return 1 << 20
		}
		n = 10*n + int(c-'0')
	}
	return n
}

// readSources reads sources.list and then sources.list.d in the order of names, as apt does. A file
// that cannot be read or parsed is apt's business, and passed over from the fault on.
func readSources(root fs.FS) []source {
	all := parseOneLine(readSmall(root, "etc/apt/sources.list"))
	files, err := fs.ReadDir(root, "etc/apt/sources.list.d")
	if err != nil {
		return all
	}
	for _, f := range files[:min(len(files), maxSourceFiles)] {
		name := "etc/apt/sources.list.d/" + f.Name()
		switch path.Ext(name) {
		case ".list":
			all = append(all, parseOneLine(readSmall(root, name))...)
		case ".sources":
			all = append(all, parseDeb822(readSmall(root, name))...)
		}
	}
	return all
}

// readSmall returns the text of a file, "" if it cannot be read or is too large.
func readSmall(root fs.FS, name string) string {
	if st, err := fs.Stat(root, name); err != nil || !st.Mode().IsRegular() {
		return ""
	}
	f, err := root.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSourceFile+1))
	if err != nil || len(b) > maxSourceFile {
		return ""
	}
	return string(b)
}
