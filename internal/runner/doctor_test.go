package runner

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// doctorEnv makes the test binary print its findings.
const doctorEnv = "RUNNER_TEST_DOCTOR"

func findings(t *testing.T, argv ...string) map[string]Finding {
	t.Helper()
	needRoot(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	argv = append(argv, self)
	c := exec.Command(argv[0], argv[1:]...)
	dir := t.TempDir()
	c.Env = append(os.Environ(), doctorEnv+"="+dir)
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v: %v", argv, err)
	}
	var list []Finding
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	found := map[string]Finding{}
	for _, f := range list {
		found[f.Probe] = f
		if !f.OK && f.Found == "" && f.Fix == "" {
			t.Errorf("%s: neither reason nor fix", f.Probe)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	return found
}

func doctorHelper(dir string) int {
	if json.NewEncoder(os.Stdout).Encode(Checkup{Cache: dir}.Findings()) != nil {
		return 1
	}
	return 0
}

// TestDoctorAgreesWithRun: where a run works, nothing needed is missing.
func TestDoctorAgreesWithRun(t *testing.T) {
	must(t, shell(t, "true"))
	for _, f := range findings(t) {
		if f.Needed && !f.OK {
			t.Errorf("%s: %s (%s)", f.Probe, f.Found, f.Fix)
		}
	}
}

func TestDoctorForcedFailures(t *testing.T) {
	for _, c := range []struct {
		name, probe, fix string
		needed           bool
		argv             []string
	}{
		{"no user namespaces left", "user namespace", "max_user_namespaces", true,
			[]string{"unshare", "--user", "--map-root-user", "--mount", "sh", "-c", `echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"`, "sh"}},
		{"masked proc", "fresh proc", "systempaths=unconfined", false,
			[]string{"unshare", "--mount", "sh", "-c", `mount -t tmpfs none /proc/sys && exec "$@"`, "sh"}},
		{"no right to write maps", "id ranges", "", true, []string{"setpriv", "--bounding-set=-setuid,-setgid"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := findings(t, c.argv...)[c.probe]
			if f.OK || f.Needed != c.needed || !strings.Contains(f.Fix, c.fix) {
				t.Errorf("%+v", f)
			}
		})
	}
}

// TestTrialSaysTheCall: a trial ends with the call that was refused, or none.
func TestTrialSaysTheCall(t *testing.T) {
	err := trial{calls: func(l *lowering) { l.add("chroot", unix.SYS_CHROOT, "/nowhere") }}.run()
	var call *callError
	if !errors.As(err, &call) || call.call != "chroot" || !errors.Is(err, unix.ENOENT) {
		t.Errorf("chroot: %v", err)
	}
	if err := (trial{}).run(); err != nil {
		t.Error(err)
	}
}
