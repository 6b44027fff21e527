package runner

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Repair changes the host so that ordinary users get what containers need, and remembers what it changed.
type Repair struct {
	Program string    // this program's path, for AppArmor's profile
	User    string    // who gets a range of ids; "" for nobody
	Path    []string  // where programs are looked for, before the usual folders
	Output  io.Writer // of the programs that are called

	root   string // in place of "/" in tests
	record string // in place of recordFile in tests
}

// recordFile holds what was changed and can be taken back.
const recordFile = "/var/lib/rootctl/doctor.json"

// profileFile is AppArmor's, which names its profiles after programs.
const profileFile = "/etc/apparmor.d/rootctl"

// lastSubID is the end of what useradd(8) hands out unless login.defs(5) says otherwise.
const lastSubID = 600100000

// Kinds of a Change.
const (
	changeFile    = "file"
	changePackage = "package"
	changeSubUID  = "subuid"
	changeSubGID  = "subgid"
)

// Change is one thing that Repair does, with all that taking it back needs.
type Change struct {
	Kind     string   `json:"kind"`               // file, package, subuid or subgid
	File     string   `json:"file,omitempty"`     // that is written, or gets a line
	Data     string   `json:"data,omitempty"`     // what is in it, or the line
	Packages []string `json:"packages,omitempty"` // that were not installed before
	User     string   `json:"user,omitempty"`
	First    uint64   `json:"first,omitempty"` // of a range of 65536 ids
}

// String is what will be done, as lines of a shell as far as there are any.
func (c Change) String() string {
	switch c.Kind {
	case changeFile:
		return fmt.Sprintf("write %s and apparmor_parser -r it:\n  %s", c.File, strings.ReplaceAll(strings.TrimSpace(c.Data), "\n", "\n  "))
	case changePackage:
		return strings.Join(c.install(), " ")
	}
	return strings.Join(c.usermod("add"), " ")
}

func (c Change) install() []string {
	return append([]string{"apt-get", "install", "--yes", "--no-install-recommends"}, c.Packages...)
}

// usermod is the command line that adds or dels the range.
func (c Change) usermod(what string) []string {
	return []string{"usermod", "--" + what + "-" + c.Kind + "s", fmt.Sprintf("%d-%d", c.First, c.First+fullRange), c.User}
}

// Plan lists what is missing, and says in notes what is missing and cannot be changed here. It changes nothing.
func (r Repair) Plan() (changes []Change, notes []string, err error) {
	switch p, why := r.profile(); {
	case why != "":
		notes = append(notes, why)
	case p != nil:
		changes = append(changes, *p)
	}
	if program("newuidmap", r.Path) == "" || program("newgidmap", r.Path) == "" {
		if r.find("apt-get") == "" {
			notes = append(notes, "newuidmap and newgidmap are missing, and there is no apt-get: install them as this system does it")
		} else {
			changes = append(changes, Change{Kind: changePackage, Packages: []string{"uidmap"}})
		}
	}
	ranges, why, err := r.ranges()
	if why != "" {
		notes = append(notes, why)
	}
	return append(changes, ranges...), notes, err
}

// profile lets this program make user namespaces where AppArmor keeps ordinary users from it.
func (r Repair) profile() (c *Change, why string) {
	b, err := os.ReadFile(r.at("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"))
	if err != nil || strings.TrimSpace(string(b)) != "1" {
		return nil, ""
	}
	text := "# Lets rootctl make user namespaces for ordinary users; rootctl doctor --undo removes it.\n" +
		"abi <abi/4.0>,\ninclude <tunables/global>\nprofile rootctl \"" + r.Program + "\" flags=(unconfined) {\n  userns,\n}\n"
	switch was, err := os.ReadFile(r.at(profileFile)); {
	case err == nil && string(was) == text:
		return nil, ""
	case err == nil:
		return nil, profileFile + " is there and is not this program's: left as it is"
	}
	if !exist(r.at(filepath.Dir(profileFile))) {
		return nil, "AppArmor forbids user namespaces to ordinary users, and " + filepath.Dir(profileFile) + " is missing: install the package apparmor"
	}
	if strings.ContainsAny(r.Program, "\"\\*?[]{}^@\n") {
		return nil, "AppArmor's profile cannot name " + strconv.Quote(r.Program) + ": install rootctl as /usr/local/bin/rootctl"
	}
	if by := r.replaceable(); by != "" {
		return nil, "others than root can write to " + by + ", and would get the profile's rights: sudo install " + r.Program + " /usr/local/bin/rootctl, and call that"
	}
	return &Change{Kind: changeFile, File: profileFile, Data: text}, ""
}

// replaceable is the program or a folder above it that others than root can write to.
func (r Repair) replaceable() string {
	for p := r.Program; ; p = filepath.Dir(p) {
		var st unix.Stat_t
		if err := unix.Lstat(r.at(p), &st); err != nil || st.Uid != 0 || st.Mode&0o022 != 0 {
			return p
		}
		if p == "/" || p == "." || r.root != "" && p == filepath.Dir(r.Program) { // a test's root lies in /tmp
			return ""
		}
	}
}

// ranges gives the user ids that nobody has.
func (r Repair) ranges() (changes []Change, why string, err error) {
	if r.User == "" {
		return nil, "no user gets a range of ids: call it by sudo as that user", nil
	}
	if strings.ContainsAny(r.User, ":/\n") || strings.HasPrefix(r.User, "-") {
		return nil, "", &SpecError{Problem: "no user has the name " + strconv.Quote(r.User), Fix: "call it by sudo"}
	}
	free := freeRange(r.at("/"))
	for _, f := range []struct{ kind, file string }{{changeSubUID, "/etc/subuid"}, {changeSubGID, "/etc/subgid"}} {
		has, err := rangesOf(r.at(f.file), r.User, r.User)
		if err != nil {
			return nil, "", err
		}
		if sum(has) < fullRange {
			changes = append(changes, Change{Kind: f.kind, File: f.file, User: r.User, First: free,
				Data: fmt.Sprintf("%s:%d:%d", r.User, free, blockID)})
		}
	}
	if len(changes) > 0 && free+fullRange > lastSubID {
		return nil, "no 65536 ids in a row are free below 600100000 in /etc/subuid and /etc/subgid", nil
	}
	return changes, "", nil
}

// Apply does the changes in order and ends with the first that fails; what it did is then remembered all the same.
func (r Repair) Apply(changes []Change) error {
	return r.withRecord(func(done *[]Change, save func() error) error {
		for _, c := range changes {
			*done = append(*done, c)
			if err := save(); err != nil { // before it happens: taking back what did not is nothing
				return err
			}
			err := r.apply(&c)
			(*done)[len(*done)-1] = c
			if err != nil {
				return errors.Join(err, save())
			}
		}
		return save()
	})
}

func (r Repair) apply(c *Change) error {
	switch c.Kind {
	case changeFile:
		f, err := os.OpenFile(r.at(c.File), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return fmt.Errorf("write AppArmor's profile: %w", err)
		}
		_, err = f.WriteString(c.Data)
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			return fmt.Errorf("write AppArmor's profile: %w", err)
		}
		if r.find("apparmor_parser") == "" {
			return &SpecError{Problem: "load AppArmor's profile: there is no apparmor_parser", Fix: "sudo apt-get install apparmor"}
		}
		if err := r.call("apparmor_parser", "-r", r.at(c.File)); err != nil {
			return errors.Join(err, os.Remove(r.at(c.File))) // one that does not load is in the way of all others
		}
		return nil
	case changePackage:
		before, err := r.packages()
		if err != nil {
			return err
		}
		argv := c.install()
		if err := r.call(argv[0], argv[1:]...); err != nil {
			return err
		}
		after, err := r.packages()
		if err != nil {
			return err
		}
		c.Packages = nil
		for _, p := range after {
			if _, had := slices.BinarySearch(before, p); !had {
				c.Packages = append(c.Packages, p)
			}
		}
		return nil
	}
	argv := c.usermod("add")
	return r.call(argv[0], argv[1:]...)
}

// packages are those installed, sorted.
func (r Repair) packages() ([]string, error) {
	out, err := r.command("dpkg-query", "--show", "--showformat=${Status} ${binary:Package}\n").Output()
	if err != nil {
		return nil, fmt.Errorf("list the packages: dpkg-query: %w", err)
	}
	var list []string
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 4 && f[2] == "installed" {
			list = append(list, f[3])
		}
	}
	slices.Sort(list)
	return list, nil
}

// at is a path below the root.
func (r Repair) at(p string) string { return filepath.Join("/", r.root, p) }

func (r Repair) find(name string) string {
	return program(name, append(slices.Clone(r.Path), "/usr/sbin", "/sbin"))
}

func (r Repair) command(name string, args ...string) *exec.Cmd {
	path := r.find(name)
	if path == "" {
		path = name // which fails with its name
	}
	c := exec.Command(path, args...)
	c.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive"}
	c.Stderr = r.Output
	return c
}

func (r Repair) call(name string, args ...string) error {
	c := r.command(name, args...)
	c.Stdout = r.Output
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}
