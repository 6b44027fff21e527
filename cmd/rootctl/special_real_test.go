package main

import (
	"strings"
	"testing"
)

// report prints what went wrong in other bootstrappers' roots, or once in ours; docs/tests.md names the rows.
const report = `set -e
echo ageing: $(grep -vE '^[^:]+:[*!]+[^:]*:[0-9]+:0:99999:7:::$' /etc/shadow | wc -l)
echo shell: $(readlink -f /bin/sh) $(dpkg-divert --listpackage /bin/sh)
echo unknown: $(grep -h '^Owners:.*unknown' /var/cache/debconf/*.dat | wc -l)
echo debconf: $(grep -q '^Owners:' /var/cache/debconf/config.dat && echo yes)
echo links: $(for d in bin sbin lib lib64; do readlink /$d; done)
echo logs: $(ls /var/log/dpkg.log /var/log/alternatives.log /var/log/bootstrap.log 2>/dev/null)
echo gshadow: $(grep -c ^gshadow: /etc/nsswitch.conf)
cd /var/lib/dpkg/info
echo nosums: $(for l in *.list; do test -e ${l%.list}.md5sums || echo $l; done)
echo emptysums: $(find . -name '*.md5sums' -size 0)
echo leftovers: $(find / -xdev -name '*.dpkg-new' -o -xdev -name '*.dpkg-bak' -o -xdev -name '*.dpkg-tmp') $(ls -A /run | grep -v lock)
echo hardlinks: $(find / -xdev -type f -links +1 -printf '%n\n' | sort -n | tail -1)
echo users: $(awk -F: '$3 >= 100 && $3 < 65000 {print $1}' /etc/passwd)
echo klibc: $(ls -d /usr/share/initramfs-tools/hooks/klibc^* 2>/dev/null)
echo apparmor: $(readlink /etc/apparmor.d/disable/usr.sbin.rsyslogd)
echo merging: $(for p in usrmerge usr-is-merged perl; do test ! -e $p.list || echo $p; done)
echo removed: $(grep remove-on-upgrade /var/lib/dpkg/status)
`

// common is what holds in every root; a line of a row takes the place of the common one.
const common = `ageing: 0
unknown: 0
debconf: yes
logs:
gshadow: 1
nosums:
emptysums:
leftovers:
klibc:
apparmor:
removed:`

const (
	byDash    = "shell: /bin/dash dash"
	unmerged  = "links:"
	mergedAll = "links: usr/bin usr/sbin usr/lib usr/lib64"
)

// TestRealSpecialCases looks for each row in roots of the real archives. Lines that a suite still changes
// are not compared.
func TestRealSpecialCases(t *testing.T) {
	r := newReal(t)
	for _, tt := range []struct {
		name string
		args []string
		want []string
	}{
		{"bionic-buildd", nil, []string{byDash, unmerged, "users: _apt", "emptysums: ./g++.md5sums"}},
		{"bionic-important", nil, []string{byDash, unmerged, "apparmor: /etc/apparmor.d/usr.sbin.rsyslogd",
			"users: systemd-network systemd-resolve syslog messagebus _apt"}},
		{"xenial-important", nil, []string{byDash, unmerged, "apparmor: /etc/apparmor.d/usr.sbin.rsyslogd",
			"klibc: /usr/share/initramfs-tools/hooks/klibc^i-t",
			"users: systemd-timesync systemd-network systemd-resolve systemd-bus-proxy syslog _apt"}},
		{"bookworm", nil, []string{"shell: /usr/bin/dash dash", mergedAll, "users:", "merging: usr-is-merged"}},
		{"trixie", []string{"--include", "procps", "--tag", "trixie-procps"}, []string{"shell: /usr/bin/dash", mergedAll, "users:", "merging:",
			"removed: /etc/sysctl.conf newconffile remove-on-upgrade"}},
		{"resolute", nil, []string{"shell: /usr/bin/dash", mergedAll, "hardlinks: 115", "users:", // 114 more names of one file
			"removed: /etc/sysctl.conf newconffile remove-on-upgrade"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r.buildSuite(t, append(tt.args, tt.name)...)
			name := tt.name
			if len(tt.args) > 0 {
				name = tt.args[len(tt.args)-1]
			}
			got := map[string]string{}
			for line := range strings.Lines(r.must(t, "run", name, "--", "sh", "-c", report)) {
				key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
				got[key] = strings.TrimSpace(value)
			}
			want := map[string]string{}
			for _, line := range append(strings.Split(common, "\n"), tt.want...) {
				key, value, _ := strings.Cut(line, ":")
				want[key] = strings.TrimSpace(value)
			}
			for key, value := range want {
				if g, ok := got[key]; !ok || g != value {
					t.Errorf("%s: %q, want %q", key, g, value)
				}
			}
		})
	}
}
