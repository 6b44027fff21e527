package debootstrap

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rootctl/rootctl/internal/debootstrap/resolve"
	"github.com/rootctl/rootctl/suites"
)

// stretchIndex are paragraphs as stretch's index had them, from memory of the distribution and not from its
// archive: NAME PRIORITY[: RELATIONS]. As a test of the closure, libraries that other packages of the set
// depend on are not required here, though several were.
const stretchIndex = `
adduser important: perl-base, passwd, debconf (>= 0.5) | debconf-2.0
apt important: adduser, gpgv | gpgv2 | gpgv1, debian-archive-keyring, init-system-helpers (>= 1.18~), libapt-pkg5.0 (>= 1.3~rc2), libc6 (>= 2.15), libgcc1 (>= 1:3.0), libstdc++6 (>= 5.2)
base-files required: awk
base-passwd required: libc6 (>= 2.8), libdebconfclient0 (>= 0.145)
bash required: dash (>= 0.5.5.1-2.2), libc6 (>= 2.15), libtinfo5 (>= 6), base-files (>= 2.1.12), debianutils (>= 2.15)
bsdutils required: libc6 (>= 2.16), libsystemd0
coreutils required: libacl1 (>= 2.2.51-8), libattr1 (>= 1:2.4.46-8), libc6 (>= 2.17), libselinux1 (>= 2.1.13)
dash required: debianutils (>= 2.15), dpkg (>= 1.15.0), libc6 (>= 2.14)
debconf required: perl-base (>= 5.20.1-3~)
debian-archive-keyring important:
debianutils required: sensible-utils, libc6 (>= 2.15)
diffutils required: libc6 (>= 2.17)
dpkg required: libbz2-1.0, libc6 (>= 2.14), liblzma5 (>= 5.2.2), libselinux1 (>= 2.3), zlib1g (>= 1:1.1.4), tar (>= 1.28-1)
e2fslibs optional: libc6 (>= 2.17)
e2fsprogs required: e2fslibs (= 1.43.4-2), libblkid1 (>= 2.17.2), libc6 (>= 2.14), libcomerr2, libss2, libuuid1, util-linux (>= 2.15~rc1-1)
findutils required: libc6 (>= 2.17), libselinux1
gcc-6-base optional:
gpgv important: libbz2-1.0, libc6 (>= 2.14), libgcrypt20 (>= 1.7.0), libgpg-error0 (>= 1.14), zlib1g (>= 1:1.1.4)
grep required: dpkg (>= 1.15.4) | install-info, libc6 (>= 2.4), libpcre3
gzip required: dpkg (>= 1.15.4) | install-info, libc6 (>= 2.17)
hostname required: libc6 (>= 2.4)
init-system-helpers required: perl-base (>= 5.20.1-3)
libacl1 optional: libattr1 (>= 1:2.4.46-8), libc6 (>= 2.14)
libapt-pkg5.0 important: libbz2-1.0, libc6 (>= 2.15), libgcc1 (>= 1:3.0), liblz4-1, liblzma5, libstdc++6 (>= 5.2), zlib1g
libattr1 optional: libc6 (>= 2.4)
libaudit-common optional:
libaudit1 optional: libaudit-common (>= 1:2.6.7-2), libc6 (>= 2.14), libcap-ng0
libblkid1 optional: libc6 (>= 2.17), libuuid1 (>= 2.16)
libbz2-1.0 optional: multiarch-support, libc6 (>= 2.4)
libc-bin required: libc6 (>> 2.24), libc6 (<< 2.25)
libc6 optional: libgcc1
libcap-ng0 optional: libc6 (>= 2.8)
libcomerr2 optional: libc6 (>= 2.17)
libdb5.3 optional: libc6 (>= 2.17)
libdebconfclient0 optional: libc6 (>= 2.4)
libfdisk1 optional: libblkid1 (>= 2.24.2), libc6 (>= 2.17), libuuid1 (>= 2.16)
libgcc1 optional: gcc-6-base (= 6.3.0-18), libc6 (>= 2.14)
libgcrypt20 optional: libc6 (>= 2.15), libgpg-error0 (>= 1.14)
libgpg-error0 optional: libc6 (>= 2.15)
liblz4-1 optional: libc6 (>= 2.14)
liblzma5 optional: libc6 (>= 2.17)
libmount1 optional: libblkid1 (>= 2.17.2), libc6 (>= 2.17), libselinux1 (>= 2.6)
libncursesw5 optional: libtinfo5 (= 6.0), libc6 (>= 2.14)
libpam-modules required: libaudit1 (>= 1:2.2.1), libc6 (>= 2.15), libdb5.3, libpam0g (>= 1.1.3-2), libselinux1 (>= 2.1.9), debconf (>= 0.5) | debconf-2.0, libpam-modules-bin (= 1.1.8-3.6)
libpam-modules-bin required: libaudit1 (>= 1:2.2.1), libc6 (>= 2.14), libpam0g (>= 0.99.7.1), libselinux1 (>= 1.32)
libpam-runtime required: debconf (>= 0.5) | debconf-2.0, libpam-modules (>= 1.0.1-6)
libpam0g optional: libaudit1 (>= 1:2.2.1), libc6 (>= 2.14), debconf (>= 0.5) | debconf-2.0
libpcre3 optional: libc6 (>= 2.14)
libselinux1 optional: libc6 (>= 2.14), libpcre3
libsemanage-common optional:
libsemanage1 optional: libaudit1 (>= 1:2.2.1), libbz2-1.0, libc6 (>= 2.8), libselinux1 (>= 2.6), libsepol1 (>= 2.6), libustr-1.0-1 (>= 1.0.4), libsemanage-common
libsepol1 optional: libc6 (>= 2.14)
libsmartcols1 optional: libc6 (>= 2.17)
libss2 optional: libcomerr2, libc6 (>= 2.17)
libstdc++6 optional: gcc-6-base (= 6.3.0-18), libc6 (>= 2.18), libgcc1 (>= 1:4.2)
libsystemd0 optional: libc6 (>= 2.17), libgcrypt20 (>= 1.7.0), liblz4-1, liblzma5, libselinux1 (>= 2.1.9)
libtinfo5 optional: libc6 (>= 2.16)
libudev1 optional: libc6 (>= 2.24)
libustr-1.0-1 optional: libc6 (>= 2.4)
libuuid1 optional: passwd, libc6 (>= 2.4)
login required: libaudit1, libc6, libpam0g, libpam-runtime, libpam-modules
lsb-base required:
mawk required: libc6 (>= 2.14)
mount required: util-linux, libblkid1, libc6, libmount1, libselinux1, libsmartcols1, libudev1
multiarch-support required: libc6 (>= 2.3.6-2)
ncurses-base required:
ncurses-bin required: libc6 (>= 2.14), libtinfo5 (>= 6)
passwd required: libaudit1, libc6, libpam0g, libselinux1, libsemanage1, libpam-modules
perl-base required: libc6 (>= 2.23), dpkg (>= 1.17.17)
sed required: libc6 (>= 2.14), libselinux1
sensible-utils optional:
sysvinit-utils required: libc6 (>= 2.15), init-system-helpers (>= 1.25~), util-linux (>> 2.28-2~)
tar required: libacl1, libc6, libselinux1
tzdata required: debconf (>= 0.5) | debconf-2.0
util-linux required: libblkid1, libc6, libfdisk1, libmount1, libncursesw5, libpam0g, libselinux1, libsmartcols1, libsystemd0, libtinfo5, libudev1, libuuid1, zlib1g, lsb-base, tzdata
zlib1g optional: libc6 (>= 2.14)

apt-transport-https optional: libcurl3-gnutls
ca-certificates optional: openssl
cron important: libc6, lsb-base
gawk optional: libc6
gnupg important: libc6
gpgv2 optional: gpgv
install-info important: libc6
init important: systemd-sysv | sysvinit-core
libcurl3-gnutls optional: libc6
makedev optional: base-passwd
openssl optional: libc6
systemd important: libsystemd0
systemd-sysv important: systemd
udev important: libudev1
usrmerge optional: perl-base
vim-tiny important: libc6
`

// stretchSource writes the index; the blank line in it ends what a minbase held.
func stretchSource() resolve.Source {
	var b strings.Builder
	for line := range strings.Lines(stretchIndex) {
		head, relations, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			continue
		}
		name, priority, _ := strings.Cut(head, " ")
		fmt.Fprintf(&b, "Package: %s\nVersion: 999:1\nArchitecture: armhf\nPriority: %s\n", name, priority)
		if name == "mawk" || name == "gawk" {
			b.WriteString("Provides: awk\n")
		}
		if r := strings.TrimSpace(relations); r != "" {
			fmt.Fprintf(&b, "Depends: %s\n", r)
		}
		b.WriteString("\n")
	}
	return resolve.Source{Pocket: "release", Component: "main", Data: b.String()}
}

// TestStretchRules holds stretch's suite file against the names of a published stretch slim image, which
// debuerreotype makes by "debootstrap --variant=minbase" and by removing files, never packages: the list
// needs neither additions nor exceptions.
//
// It proves that our rules for stretch add no package of their own (usr-is-merged, usrmerge, makedev,
// ca-certificates), drop none, follow apt's first alternatives, and do not take what is merely important.
// It does not prove that stretch's index is as above: that has been written down by hand. What does is
// `make e2e-stretch`, where the real archive can be reached.
func TestStretchRules(t *testing.T) {
	b, err := os.ReadFile("../../testdata/stretch-slim-names.txt")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for line := range strings.Lines(string(b)) {
		if !strings.HasPrefix(line, "#") {
			want = append(want, strings.TrimSpace(line))
		}
	}
	slices.Sort(want)
	set, err := suites.Load()
	if err != nil {
		t.Fatal(err)
	}
	stretch, err := set.Lookup("stretch")
	if err != nil {
		t.Fatal(err)
	}
	if r := stretch.Rules; r.DeviceTable != "" || r.MergedFor("minbase") || !r.StagedFor("minbase") || r.SkipUsrmergeMarker {
		t.Errorf("rules: %+v: want the plain nodes, an unmerged root without marker, configured in stages", r)
	}
	req, err := Request{Suite: stretch, Arch: "armhf"}.normalize()
	if err != nil {
		t.Fatal(err)
	}
	https := req
	https.Suite.Archives = map[string][]string{"default": {"https://archive.example.org/debian"}}
	if got := https.extraBase(); !slices.Equal(got, []string{"ca-certificates", "apt-transport-https"}) || len(req.extraBase()) > 0 {
		t.Errorf("for https: %q, else %q", got, req.extraBase())
	}
	ix, err := resolve.NewIndex([]resolve.Source{stretchSource()})
	if err != nil {
		t.Fatal(err)
	}
	r := stretch.Rules
	got, err := resolve.Resolve(ix, resolve.Want{Variant: req.Variant, Arch: req.Arch, ExtraRequired: r.ExtraRequired, DropDepends: r.DropDepends, ExtraBase: req.extraBase()})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range append(got.Required, got.Base...) {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	if d := cmp.Diff(want, names); d != "" || len(want) != 76 {
		t.Errorf("%d names (-image +ours):\n%s", len(want), d)
	}
	base := ""
	for _, p := range got.Base {
		base += p.Name + " "
	}
	if base != "adduser apt debian-archive-keyring gpgv libapt-pkg5.0 libstdc++6 " {
		t.Errorf("beside the required ones: %s", base)
	}
}
