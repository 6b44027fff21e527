package debootstrap

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// fast holds shell scripts that stand in for two programs while maintainer scripts run. They do the cases
// that fill a build, and hand all others to the program.
//
//go:embed fast/*.sh
var fast embed.FS

// fastPath is a program that has such a stand-in: where it lies, and the SHA-256 of those of its versions
// that the stand-in was compared with. Any other version is left alone.
type fastPath struct {
	name  string
	known []string
}

func fastPaths() []fastPath {
	return []fastPath{
		// Called four times a unit, to enable it where systemd does not run; each call is a start of perl.
		{"/usr/bin/deb-systemd-helper", []string{
			"0bd906baa4579702aaa41360366813bed5fc2d2f2aed953e32b04df3be364a90", // init-system-helpers 1.29: xenial
			"10b3c17c0f82dbf2e29ca3a8b353237fd198999c541599a5b48f44a00b180020", // 1.51: bionic
			"76e6e95c8a57ffa45df1ca84342b97f331958b9af6066178c67bf447c6d12447", // 1.57: focal
			"ff5c494922224cf488b1bcbfb2e8edace268f6b043bfc491733db62606ecadbe", // 1.60, 1.62: bullseye, jammy
			"a895d5f077651960b6ca4ed9c53f8b36eae422ae170f61c972d0c6579e9f8732", // 1.65.2 to 1.69+nmu3: bookworm, noble and later
		}},
		// Called for every conffile a package ever dropped (87 times in bookworm); each call is three programs.
		{"/usr/bin/dpkg-maintscript-helper", []string{
			"27d3615d0340c4de286da2c56df322d6cec1d6bbbba07d58d1dcab8ea76cad20", // dpkg 1.18.4: xenial
			"08c95788a8cd229da74237cfa0f7b717ef4fa7f3b19283d572461b4e8bc24661", // 1.19.0.5: bionic
			"254463753cd9c6bc4093c556b181dc418a3fa10ade361fac3bb87ec4525d7aa9", // 1.19.7: focal
			"83fe1d199874d2a1e332a13111bc38210e61eeb375ab4a1795b9e7a110783701", // 1.20.13: bullseye
			"889b2575c66234ac0d4051eca9df16092a8524297f2f231a908c499e32d6e03b", // 1.21.1: jammy
			"ab44bb8f3454a2ef0991dcfd832c99e89747f6a9624ffc7095786530f627e2ff", // 1.21.23: bookworm
			"c1ebe2d1281240872a38dd16dcaea57d48a66978f500eeeca58689ae006ca342", // 1.22.6: noble
			"164ae6cd468674eea2f5dd7208f9ebac191b20bb0c0ac726560eb313b798d577", // 1.22.22: trixie
			"1cd744cc0b6371329a6a5dbcf459329a08f8632b5f71e18463d0f0749fd0265d", // 1.23.7: resolute
			"76b89b92b0ba2f4144ea0acd5ca5303b17be201d0188bd27fb4d85be19e2528c", // 1.23.11: forky, sid
		}},
	}
}

// divertFast puts the stand-ins in the place of programs that are known.
func (in *installer) divertFast(u *undoing) error {
	for _, f := range fastPaths() {
		st, err := in.t.Lstat(f.name)
		if errors.Is(err, unix.ENOENT) || err == nil && (st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o7777 != 0o755) {
			continue
		}
		if err != nil {
			return err
		}
		b, err := in.t.ReadFile(f.name, maxMaster)
		if err != nil {
			return fmt.Errorf("read %s: %w", f.name, err)
		}
		sum := sha256.Sum256(b)
		if !slices.Contains(f.known, hex.EncodeToString(sum[:])) {
			continue
		}
		script, err := fast.ReadFile("fast/" + path.Base(f.name) + ".sh")
		if err == nil {
			err = in.standIn(u, f.name, string(script))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
