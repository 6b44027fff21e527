package archive

import (
	"strings"
	"testing"
	"testing/fstest"
)

const (
	osUbuntu = "NAME=\"Ubuntu\"\nID=ubuntu\nVERSION_CODENAME=noble\n"
	osDebian = "ID=debian\nVERSION_CODENAME=bookworm\n"
)

// files makes a tree of names and contents.
func files(list ...string) fstest.MapFS {
	m := fstest.MapFS{}
	for i := 0; i+1 < len(list); i += 2 {
		m[list[i]] = &fstest.MapFile{Data: []byte(list[i+1])}
	}
	return m
}

func TestHostMirrors(t *testing.T) {
	const list, d = "etc/apt/sources.list", "etc/apt/sources.list.d/"
	for _, c := range []struct {
		summary      string
		root         fstest.MapFS
		family       string
		pocket, arch string
		want         string
	}{
		{"nothing", files(), "debian", "release", "amd64", ""},
		{"one-line", files("etc/os-release", osDebian, list, "deb http://mirror.example/debian/ bookworm main\n"), "debian", "release", "amd64", "http://mirror.example/debian"},
		{"os-release in usr/lib", files("usr/lib/os-release", osDebian, list, "deb http://m/debian bookworm main\n"), "debian", "release", "amd64", "http://m/debian"},
		{"another family", files("etc/os-release", osDebian, list, "deb http://m/debian bookworm main\n"), "ubuntu", "release", "amd64", ""},
		{"tabs, comment, options", files("etc/os-release", osDebian, list,
			"# deb http://no/debian bookworm main\ndeb\t[ arch=amd64,arm64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg ]\thttp://m/debian\tbookworm\tmain contrib # ours\ndeb-src http://src/debian bookworm main\n"),
			"debian", "release", "amd64", "http://m/debian"},
		{"option without blank", files("etc/os-release", osDebian, list, "deb [trusted=yes]http://m/debian bookworm main\n"), "debian", "release", "amd64", "http://m/debian"},
		{"other architecture", files("etc/os-release", osDebian, list, "deb [arch=arm64] http://m/debian bookworm main\ndeb [arch-=amd64] http://n/debian bookworm main\ndeb [arch+=arm64] http://o/debian bookworm main\n"),
			"debian", "release", "amd64", "http://o/debian"},
		{"third parties", files("etc/os-release", osDebian, list, strings.Join([]string{
			"deb https://packages.example/apt cloud-sdk-bookworm main",
			"deb https://docker.example/linux/debian bookworm stable",
			"deb https://pg.example/debian bookworm-pgdg main",
			"deb [signed-by=/etc/apt/keyrings/other.gpg] https://other.example/debian bookworm main",
			"deb https://flat.example/debian ./",
			"deb ftp://m/debian bookworm main",
			"deb cdrom:[Debian]/ bookworm main",
			"deb file:/srv/debian bookworm main",
		}, "\n")), "debian", "release", "amd64", ""},
		{"fingerprints say nothing of whose key it is", files("etc/os-release", osDebian, list,
			"deb [signed-by=B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8!,05AB90340C0C5E797F44A8C8254CF3B5AEC0A8F0] http://m/debian bookworm main\n"+
				"deb [signed-by=B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8] http://n/debian other main\n",
			d+"a.sources", "Types: deb\nURIs: http://o/debian\nSuites: bookworm\nComponents: main\nSigned-By: B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8,\n 05AB90340C0C5E797F44A8C8254CF3B5AEC0A8F0\n\n"+
				"Types: deb\nURIs: http://p/debian\nSuites: bookworm\nComponents: main\nSigned-By: B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8 /etc/apt/keyrings/other.gpg\n"),
			"debian", "release", "amd64", "http://m/debian http://o/debian"},
		{"security apart", files("etc/os-release", osDebian, list,
			"deb http://m/debian bookworm main\ndeb http://m/debian bookworm-updates main\ndeb http://s/debian-security bookworm-security main\n"),
			"debian", "security", "amd64", "http://s/debian-security"},
		{"security of old", files("etc/os-release", "ID=debian\nVERSION_CODENAME=buster\n", list, "deb http://s/debian-security buster/updates main\n"),
			"debian", "security", "amd64", "http://s/debian-security"},
		{"release without security", files("etc/os-release", osDebian, list,
			"deb http://s/debian-security bookworm-security main\ndeb http://m/debian bookworm-updates main\n"),
			"debian", "release", "amd64", "http://m/debian"},
		{"stable", files("etc/os-release", osDebian, list, "deb http://m/debian stable main\n"), "debian", "release", "amd64", "http://m/debian"},
		{"deb822", files("etc/os-release", osDebian, d+"debian.sources",
			"Types: deb deb-src\nURIs: http://a/debian\n http://b/debian\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n"+
				"Types: deb\nEnabled: no\nURIs: http://c/debian\nSuites: bookworm\nComponents: main\n\n"+
				"Types: deb\nURIs: http://d/debian\nSuites: bookworm\nComponents: main\nArchitectures: arm64\n\n"+
				"Types: deb\nURIs: http://e/debian\nSuites: bookworm\nComponents: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n x\n\n"+
				"Types: deb-src\nURIs: http://f/debian\nSuites: bookworm\nComponents: main\n"),
			"debian", "release", "amd64", "http://a/debian http://b/debian"},
		{"a fault ends a file", files("etc/os-release", osDebian, d+"a.sources", "Types: deb\nURIs: http://a/debian\nSuites: bookworm\nComponents: main\n\n broken\n", d+"b.list", "deb [broken http://b bookworm main\ndeb http://c/debian bookworm main"),
			"debian", "release", "amd64", "http://a/debian http://c/debian"},
		{"other names", files("etc/os-release", osDebian, d+"a.sources.save", "Types: deb\nURIs: http://a/debian\nSuites: bookworm\nComponents: main\n"), "debian", "release", "amd64", ""},
		{"order", files("etc/os-release", osDebian, d+"b.list", "deb http://b/debian bookworm main", d+"a.list", "deb http://a/debian bookworm main", list, "deb http://z/debian bookworm main\ndeb http://a/debian bookworm-updates main"),
			"debian", "release", "amd64", "http://z/debian http://a/debian http://b/debian"},
		{"mirror list", files("etc/os-release", osUbuntu, d+"ubuntu.sources", "Types: deb\nURIs: mirror+file:/etc/apt/apt-mirrors.txt\nSuites: noble noble-updates\nComponents: main universe\nSigned-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg\n",
			"etc/apt/apt-mirrors.txt", "# lists\nhttps://late/ubuntu/\tpriority:3\nhttp://first/ubuntu/\tpriority:1\nhttp://unranked/ubuntu/\nhttp://arm/ubuntu/ arch:arm64 priority:1\nfile:/x\n"),
			"ubuntu", "release", "amd64", "http://first/ubuntu https://late/ubuntu http://unranked/ubuntu"},
		{"mirror list, one-line", files("etc/os-release", osUbuntu, list, "deb mirror+file:///etc/m.txt noble main", "etc/m.txt", "http://m/ubuntu"), "ubuntu", "security", "amd64", "http://m/ubuntu"},
		{"mirror list outside", files("etc/os-release", osUbuntu, list, "deb mirror+file:/../../etc/m.txt noble main"), "ubuntu", "release", "amd64", ""},
		{"ports for amd64", files("etc/os-release", osUbuntu, list, "deb http://p/ubuntu-ports noble main\ndeb http://p/ubuntu noble main"), "ubuntu", "release", "amd64", "http://p/ubuntu"},
		{"ports for arm64", files("etc/os-release", osUbuntu, list, "deb http://p/ubuntu-ports noble main\ndeb http://p/ubuntu noble main\ndeb http://p/all noble main"), "ubuntu", "release", "arm64", "http://p/ubuntu-ports http://p/all"},
		{"ubuntu security", files("etc/os-release", osUbuntu, list, "deb http://s/ubuntu noble-security main"), "ubuntu", "release", "amd64", "http://s/ubuntu"},
		{"password", files("etc/os-release", osDebian, list, "deb http://u:p@m/debian bookworm main"), "debian", "release", "amd64", "http://u:p@m/debian"},
		{"huge", files("etc/os-release", osDebian, list, "deb http://m/debian bookworm main\n"+strings.Repeat("#\n", maxSourceFile)), "debian", "release", "amd64", ""},
	} {
		got := strings.Join(HostMirrors(c.root, c.family, c.pocket, c.arch), " ")
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.summary, got, c.want)
		}
	}
}

func FuzzSources(f *testing.F) {
	f.Add("deb [arch=amd64 signed-by=/x] http://m/debian bookworm main # c\n", "Types: deb\nURIs: http://a/debian\nSuites: bookworm\nComponents: main\n", "http://m/debian priority:1 arch:amd64\n")
	f.Add("deb mirror+file:/m bookworm main", "", "http://u:p@h/x\tpriority:99999999999999999999")
	f.Add("deb [ [] x", "Types: deb\nEnabled: NO", "")
	f.Fuzz(func(t *testing.T, list, sources, mirrors string) {
		root := files("etc/os-release", osDebian, "etc/apt/sources.list", list, "etc/apt/sources.list.d/a.sources", sources, "m", mirrors)
		for _, m := range HostMirrors(root, "debian", "release", "amd64") {
			if checkMirror(m) != nil || strings.ContainsAny(m, " \t\n") {
				t.Fatalf("mirror %q", m)
			}
			if !strings.Contains(list+sources+mirrors, m) {
				t.Fatalf("mirror %q is of nowhere", m)
			}
		}
	})
}

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"pool/main/h/hello/hello_1.0+really2~rc1_amd64.deb": "pool/main/h/hello/hello_1.0%2Breally2~rc1_amd64.deb",
		"a:b%3ac?d#e": "a%3Ab%253ac%3Fd%23e",
	} {
		if got := escape(in); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}

func TestPreferXz(t *testing.T) {
	const gz, xz, plain = 12 << 20, 9 << 20, 48 << 20
	for rate, want := range map[float64]bool{0: true, 100e3: true, 1e6: true, 20e6: false, 1e9: false} {
		if preferXz(gz, xz, plain, rate) != want {
			t.Errorf("at %.0f bytes/s: %v", rate, !want)
		}
	}
}

func TestWithoutSignature(t *testing.T) {
	for in, want := range map[string]string{
		"plain\n": "plain\n",
		"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\na: b\n- -x: y\n-----BEGIN PGP SIGNATURE-----\n\nxx\n": "a: b\n-x: y\n",
		"-----BEGIN PGP SIGNED MESSAGE-----": "\n",
	} {
		if got := string(withoutSignature([]byte(in))); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func TestRecordID(t *testing.T) {
	w := newWorld(t, hello())
	a := w.open(t)
	p := a.Pockets[0]
	own, x, y := a.recordID(p, w.srv.URL), a.recordID(p, "http://x/ubuntu"), a.recordID(p, "http://y/ubuntu")
	if own != "bionic" || x == own || y == own || x == y {
		t.Errorf("%q %q %q", own, x, y)
	}
}
