package runner

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// brokenHost is a root folder of a machine that lacks everything, with programs that note how they are called.
func brokenHost(t *testing.T) (r Repair, calls func() string) {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n",
		"etc/subuid":                     "other:100000:65536\nanna:300000:1000\n",
		"etc/subgid":                     "other:100000:65536\nlast:165536:65536\n",
		"etc/passwd":                     "root:x:0:0::/root:/bin/sh\nremote:x:231100:231100::/:/bin/sh\n",
		"etc/group":                      "root:x:0:\n",
		"etc/apparmor.d/tunables/global": "",
		"usr/local/bin/rootctl":          "",
		"programs/installed":             "libc6\n",
		"programs/removed":               "",
		"programs/apparmor_parser":       `echo "parser $1 $(head -c9 "$2")" >>"$0.log"`,
		"programs/apt-get":               aptGet,
		"programs/dpkg-query":            `sed 's/^/install ok installed /' "${0%/*}/installed"`,
		"programs/usermod":               usermodLike,
	} {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(name, "programs/") {
			text = "#!/bin/sh\nset -eu\n" + text + "\n"
			if filepath.Base(name) == "installed" || filepath.Base(name) == "removed" {
				text = strings.SplitN(text, "\n", 3)[2]
			}
		}
		if err := os.WriteFile(p, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	log := filepath.Join(root, "programs", "apparmor_parser.log")
	r = Repair{Program: "/usr/local/bin/rootctl", User: "anna", Path: []string{filepath.Join(root, "programs")}, Output: os.Stderr,
		root: root, record: filepath.Join(root, "var/lib/rootctl/doctor.json")}
	return r, func() string { b, _ := os.ReadFile(log); return string(b) }
}

const aptGet = `d=${0%/*}
case "$1 $2" in
"install --yes") echo libsubid5 >>$d/installed; echo uidmap >>$d/installed;;
"remove --simulate") shift 2; for p; do echo "Remv $p [1.0]"; done; cat $d/needed 2>/dev/null || :;;
"remove --yes") shift 2; for p; do sed -i "/^$p\$/d" $d/installed; done;;
*) exit 1;;
esac`

const usermodLike = `e=${0%/programs/*}/etc
first=${2%-*} last=${2#*-}
case $1 in --*-subuids) f=$e/subuid;; *) f=$e/subgid;; esac
line=$3:$first:$((last - first + 1))
case $1 in --add-*) echo "$line" >>$f;; --del-*) sed -i "/^$line\$/d" $f;; esac`

// everything is the text of the files that a repair may touch.
func everything(t *testing.T, r Repair) string {
	t.Helper()
	var b strings.Builder
	for _, name := range []string{"etc/subuid", "etc/subgid", "etc/apparmor.d/rootctl", "programs/installed", "var/lib/rootctl"} {
		text, err := os.ReadFile(filepath.Join(r.root, name))
		if err != nil {
			text = []byte(strings.ReplaceAll(err.Error(), r.root, ""))
		}
		fmt.Fprintf(&b, "%s: %s\n", name, text)
	}
	return b.String()
}

func planned(t *testing.T, r Repair) []Change {
	t.Helper()
	changes, notes, err := r.Plan()
	if err != nil || len(notes) > 0 {
		t.Fatalf("plan: %v, %v", notes, err)
	}
	return changes
}

func TestRepairAndUndo(t *testing.T) {
	needRoot(t)
	r, calls := brokenHost(t)
	before := everything(t, r)
	changes := planned(t, r)
	if program("newuidmap", nil) != "" { // of this machine, which is no part of the root folder
		changes = slices.Insert(changes, 1, Change{Kind: changePackage, Packages: []string{"uidmap"}})
	}
	if everything(t, r) != before {
		t.Fatal("a plan has changed something")
	}
	// 100000 is another's, 165536 is another's group, and 231100 is somebody.
	if s := changes[2].String(); s != "usermod --add-subuids 231101-296636 anna" {
		t.Errorf("the range: %s", s)
	}
	if err := r.Apply(changes); err != nil {
		t.Fatal(err)
	}
	after := everything(t, r)
	for _, want := range []string{"anna:231101:65536\n", `profile rootctl "/usr/local/bin/rootctl" flags=(unconfined)`, "uidmap"} {
		if !strings.Contains(after, want) {
			t.Errorf("no %q in\n%s", want, after)
		}
	}
	if again := planned(t, r); len(again) != 0 {
		t.Errorf("a second time: %v", again)
	}
	if done, err := r.Recorded(); err != nil || len(done) != 4 || !slices.Equal(done[1].Packages, []string{"libsubid5", "uidmap"}) {
		t.Errorf("recorded: %+v, %v", done, err)
	}
	if err := r.Undo(func(s string) { t.Log(s) }); err != nil {
		t.Fatal(err)
	}
	if now := everything(t, r); now != before {
		t.Errorf("before\n%s\nafter\n%s", before, now)
	}
	if c := calls(); c != "parser -r # Lets ro\nparser -R # Lets ro\n" {
		t.Errorf("apparmor_parser: %q", c)
	}
}

// TestUndoLeavesWhatOthersChanged: a changed file or line is the user's, a package that something needs stays.
func TestUndoLeavesWhatOthersChanged(t *testing.T) {
	needRoot(t)
	r, _ := brokenHost(t)
	changes := append(planned(t, r), Change{Kind: changePackage, Packages: []string{"uidmap"}})
	if err := r.Apply(changes); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"etc/subuid": "anna:231101:70000\n", "etc/apparmor.d/rootctl": "mine\n", "programs/needed": "Remv podman [4.3]\n"} {
		if err := os.WriteFile(filepath.Join(r.root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var said []string
	if err := r.Undo(func(s string) { said = append(said, s) }); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"package podman needs libsubid5 uidmap by now: left as it is",
		"removed anna:231101:65536 from /etc/subgid",
		"/etc/subuid has no line anna:231101:65536 any more: left as it is",
		"/etc/apparmor.d/rootctl was changed since: left as it is",
	}
	if !slices.Equal(said, want) {
		t.Errorf("said %q", said)
	}
	if now := everything(t, r); !strings.Contains(now, "anna:231101:70000") || !strings.Contains(now, "mine") || !strings.Contains(now, "uidmap") {
		t.Error(now)
	}
}

// TestRepairRefuses: no profile for a program that others can replace, none over somebody's, no user without sudo.
func TestRepairRefuses(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		summary, note string
		spoil         func(r *Repair) error
	}{
		{"a program that others can replace", "others than root can write to /usr/local/bin", func(r *Repair) error { return os.Chmod(r.at("/usr/local/bin"), 0o777) }},
		{"a name with a pattern", "cannot name", func(r *Repair) error { r.Program = "/usr/local/bin/r*"; return nil }},
		{"another profile", "is there and is not this program's", func(r *Repair) error { return os.WriteFile(r.at(profileFile), []byte("x"), 0o644) }},
		{"no user", "call it by sudo", func(r *Repair) error { r.User = ""; return nil }},
		{"no ids left", "no 65536 ids in a row", func(r *Repair) error {
			return os.WriteFile(r.at("/etc/subuid"), []byte("x:100000:600000000\n"), 0o644)
		}},
	} {
		r, _ := brokenHost(t)
		if err := c.spoil(&r); err != nil {
			t.Fatal(err)
		}
		_, notes, err := r.Plan()
		if err != nil || len(notes) != 1 || !strings.Contains(notes[0], c.note) {
			t.Errorf("%s: %q, %v", c.summary, notes, err)
		}
	}
	r, _ := brokenHost(t)
	r.User = "-a"
	if _, _, err := r.Plan(); err == nil {
		t.Error("a user named like a flag")
	}
}

// TestRepairRemembersFailures: what a failed repair did is taken back too.
func TestRepairRemembersFailures(t *testing.T) {
	needRoot(t)
	r, _ := brokenHost(t)
	before := everything(t, r)
	if err := os.WriteFile(filepath.Join(r.root, "programs/usermod"), []byte("#!/bin/sh\nexit 9\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := r.Apply(planned(t, r)); err == nil || !strings.Contains(err.Error(), "usermod --add-subuids") {
		t.Fatalf("usermod failed and: %v", err)
	}
	if err := r.Undo(func(string) {}); err != nil || everything(t, r) != before {
		t.Errorf("%v\n%s", err, everything(t, r))
	}
}

// TestRepairForReal gives a new user a range with this machine's usermod, in a private copy of /etc.
func TestRepairForReal(t *testing.T) {
	needRoot(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-euc", `cp -a /etc/. "$0"; mount --bind "$0" /etc
useradd --system --no-create-home rootctl-doctor; cp /etc/subuid /etc/before
"$1"; grep -q '^rootctl-doctor:[0-9]*:65536$' /etc/subuid; grep -q '^rootctl-doctor:[0-9]*:65536$' /etc/subgid
`+repairEnv+`=undo "$1"; cmp /etc/before /etc/subuid; ! grep rootctl-doctor /etc/subgid`, dir, self)
	c.Env = append(os.Environ(), repairEnv+"=do", "RECORD="+filepath.Join(t.TempDir(), "r.json"))
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Run(); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// repairEnv makes the test binary give a user a range, or take it back.
const repairEnv = "RUNNER_TEST_REPAIR"

func repairHelper(what string) int {
	r := Repair{User: "rootctl-doctor", record: os.Getenv("RECORD"), Output: os.Stderr}
	if what == "do" {
		changes, _, e := r.ranges()
		if e == nil && len(changes) == 2 {
			e = r.Apply(changes)
		}
		if e != nil {
			fmt.Fprintln(os.Stderr, e)
			return 1
		}
		return 0
	}
	if e := r.Undo(func(s string) { fmt.Println(s) }); e != nil {
		fmt.Fprintln(os.Stderr, e)
		return 1
	}
	return 0
}
