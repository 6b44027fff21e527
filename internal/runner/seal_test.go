package runner

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// sealEnv makes the test binary, executed inside through /proc/self/exe, attack its own file.
const sealEnv = "RUNNER_TEST_SEAL"

// sealAttack changes the mode of its own file, which needs no waiting until nobody executes it, and tries to write to it.
func sealAttack() int {
	mode := unix.Chmod("/proc/self/exe", 0o711)
	fd, err := unix.Open("/proc/self/exe", unix.O_RDONLY, 0)
	if err == nil {
		_, err = unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_WRONLY, 0)
	}
	fmt.Printf("mode: %v; write: %v\n", mode, err)
	return 0
}

// TestSealedSelf has a container of the host's users execute the host's program through /proc/self/exe. A copy of this
// binary plays that program.
func TestSealedSelf(t *testing.T) {
	root := thinRoot(t)
	if err := os.Mkdir(filepath.Join(root, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin", "script"), []byte("#!/proc/self/exe\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for way, argv := range map[string][]string{"command": {"/proc/self/exe"}, "interpreter": {"/bin/script"}, "by number": {"/proc/1/exe"}} {
		for _, seal := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, sealed %v", way, seal), func(t *testing.T) {
				program := filepath.Join(t.TempDir(), "program")
				if out, err := exec.Command("cp", self, program).CombinedOutput(); err != nil {
					t.Fatalf("cp: %v: %s", err, out)
				}
				b, err := json.Marshal(job{IDs: t.TempDir(), Seal: seal, Spec: Spec{Lower: []string{root, sharedRoot(t)}, UserNS: "host", Argv: argv, Env: []string{sealEnv + "=1"}}})
				if err != nil {
					t.Fatal(err)
				}
				cmd := exec.Command(program)
				cmd.Env = append(os.Environ(), helperEnv+"="+string(b))
				out, err := cmd.CombinedOutput()
				if err != nil || !strings.HasPrefix(string(out), "mode: ") {
					t.Fatalf("%v: %s", err, out)
				}
				st, err := os.Stat(program)
				if err != nil {
					t.Fatal(err)
				}
				changed := st.Mode().Perm() == 0o711
				if seal && (changed || !strings.HasPrefix(string(out), "mode: "+unix.EROFS.Error())) {
					t.Errorf("mode %v; %s", st.Mode(), out)
				}
				if !seal && (!changed || !strings.Contains(string(out), unix.ETXTBSY.Error())) {
					t.Errorf("not sealed, and yet out of reach, so this test notices nothing: mode %v; %s", st.Mode(), out)
				}
			})
		}
	}
}
