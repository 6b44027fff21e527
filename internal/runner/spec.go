package runner

import (
	"fmt"
	"log/slog"
	"os"
	"path"
	"strings"
	"time"
)

// Spec is everything a container needs, as plain data.
type Spec struct {
	// Lower are the directories of a fresh copy, topmost first. They are never written to.
	Lower []string `json:"lower,omitempty"`
	// Work is an empty folder on disk for what the copy changes; "" keeps the changes in memory.
	Work string `json:"work,omitempty"`
	// Dir is a directory used in place instead of a copy. Missing mount points (/proc, /sys, /dev) are created in it;
	// nothing else is changed by the runner itself.
	Dir string `json:"dir,omitempty"`

	Argv []string `json:"argv"`
	// Env is the whole environment of the command. Its PATH is the one that is searched.
	Env []string `json:"env,omitempty"`
	// Workdir is a path inside; "" means "/".
	Workdir  string `json:"workdir,omitempty"`
	Hostname string `json:"hostname,omitempty"`
	// User is who executes the command; nil means root inside.
	User *Identity `json:"user,omitempty"`
	// Init puts a reaper before the command as PID 1: it reaps orphans and passes signals on.
	Init bool `json:"init,omitempty"`
	// TTY gives the command a terminal of its own.
	TTY bool `json:"tty,omitempty"`

	// Isolation is "namespaces" (the default) or "chroot": see chroot.go.
	Isolation string `json:"isolation,omitempty"`
	// UserNS is "own" (IDs required; the default) or "host".
	UserNS string  `json:"userns,omitempty"`
	IDs    IDRange `json:"ids"`
	// Nested says that the host process is itself root of an ordinary user's namespace (see Enter) with IDs.Size ids.
	// The container then has the same ids, and nothing is idmapped: the user's files and the cache have them already.
	Nested bool `json:"nested,omitempty"`
	// Shifted says that the files of Dir, or of Lower, have the container's ids already (see ShiftTree, CopyShifted).
	Shifted bool `json:"shifted,omitempty"`
	// Unshifted are, with Shifted, the layers with the ids that the root has: for a container whose root has another id
	// on the host than the first of IDs, of whom a plain copy is made.
	Unshifted []string `json:"unshifted,omitempty"`
	// Net is "none" (the default: own namespace, loopback up), "host", or "nat": own namespace, which Options.Connect
	// connects before the command starts.
	Net   string `json:"net,omitempty"`
	Binds []Bind `json:"binds,omitempty"`
	// Share are namespaces that stay the host's: pid, ipc, uts, and net with Net "host".
	Share []string `json:"share,omitempty"`
	// Bare leaves /proc, /sys, /dev and Tmpfs to the command, which may mount them in its own user namespace.
	Bare bool `json:"bare,omitempty"`
	// Publish are ports of the host, [IP:]HOSTPORT:PORT[/tcp|udp], with Net "nat".
	Publish []string `json:"publish,omitempty"`

	// Caps are names like "CAP_CHOWN"; nil means DefaultCaps.
	Caps []string `json:"caps"` // an empty list is kept apart from none
	// NoNewPrivs is always on with UserNS "host".
	NoNewPrivs bool `json:"no_new_privs,omitempty"`
	// Seccomp is "default" (what is not known to be harmless is refused) or "none".
	Seccomp string `json:"seccomp,omitempty"`
	// Limits are what the container may use of the machine.
	Limits Limits `json:"limits,omitzero"`
	// NoFsync turns fsync and its kin into no-ops.
	NoFsync bool `json:"no_fsync,omitempty"`
	// RecordOwners tells Options.Owners of every change of owners, if there is but one id (Nested, IDs.Size 1). Without it
	// such changes have no effect there; in both cases they succeed.
	RecordOwners bool `json:"record_owners,omitempty"`
	// Umask of the command; 0 means 022.
	Umask int `json:"umask,omitempty"`

	// Format is registered with the kernel for this container alone, so that programs of another architecture run.
	Format *Format `json:"format,omitempty"`
	// Linux32 has uname name the processor as one of 32 bits, as setarch linux32 does.
	Linux32 bool `json:"linux32,omitempty"`

	// DevNodes are further names under /dev, each bound from the host's /dev/null.
	DevNodes []string `json:"dev_nodes,omitempty"`
	// Tmpfs are directories that get an empty file system in memory; nil means /tmp and /run for a copy and none for Dir.
	Tmpfs []string `json:"tmpfs,omitempty"`

	// Memory are more of them, or those of Tmpfs with another size or mode.
	Memory []Memory `json:"memory,omitempty"`
	// ReadOnly makes the root read-only for the command. What is mounted in it stays as it is.
	ReadOnly bool `json:"read_only,omitempty"`
	// UpperSize bounds what a copy without Work changes, in bytes; 0 is half of the machine's memory.
	UpperSize int64 `json:"upper_size,omitempty"`

	// ResolvConf and Hosts are the contents of those files in a copy. Nil leaves resolv.conf alone (Net "host") or names
	// an unreachable server (Net "none"), and writes a hosts file that knows localhost and Hostname.
	ResolvConf []byte `json:"resolv_conf,omitempty"`
	Hosts      []byte `json:"hosts,omitempty"`
	// Files are written into a copy before the command starts.
	Files []File `json:"files,omitempty"`
	// KeepWork says that what a run makes in Work goes with it, all but a directory w that the next run finds there: on
	// a file system that discards freed blocks at once, each directory removed costs a request to the disk.
	KeepWork bool `json:"keep_work,omitempty"`
	// KeepCopy says that what the run changed stays in Work's directory u, whoever is killed.
	KeepCopy bool `json:"keep_copy,omitempty"`
	// EtcBelow says that the first of Lower holds EtcFiles, which are then not made.
	EtcBelow bool `json:"etc_below,omitempty"`
}

// File is a small file of a copy. Its directory is made if need be.
type File struct {
	Path string `json:"path"`
	Data []byte `json:"data"`
}

// IDRange is the block of host ids that the container's 0 to Size-1 are mapped to.
type IDRange struct {
	Base uint32 `json:"base"`
	Size uint32 `json:"size"`
}

// Bind makes Src of the host visible at Dst inside. Unless Identity is set, what belongs to Src's owner belongs to root
// inside and the other way round, and every other id is unmapped.
type Bind struct {
	Src      string `json:"src"`
	Dst      string `json:"dst,omitempty"` // "" means Src
	ReadOnly bool   `json:"read_only,omitempty"`
	Identity bool   `json:"identity,omitempty"` // ids as the container's user namespace maps them
}

// Options are what a run needs of the host process beside the Spec.
type Options struct {
	Stdin, Stdout, Stderr *os.File // nil means /dev/null
	// Keep is held and cleaned up even if the host process is killed. Nil still ends the container then.
	Keep *Keep
	// Owners is needed with Spec.RecordOwners.
	Owners Owners
	// Signals are delivered to the command as far as its init can take them; INT, TERM, HUP and QUIT mean stop.
	Signals <-chan os.Signal
	// Note, if set, receives at most a few lines that the user ought to see, such as a bind that became read-only.
	Note func(string)
	Log  *slog.Logger
	// Connect is needed with Net "nat": it gets the pid of the init and its network namespace.
	Connect func(pid, netns int) error
	// Grace, if set, is asked at a stop signal how long the command has until KILL; 0 means ten seconds.
	Grace func() time.Duration
	// WatchNet asks for Status.TriedNet.
	WatchNet bool

	// Made, if set, is told of the init before that executes anything. An error ends the run.
	Made func(Process) error

	// Ready, if set, is waited for after Made, and as Made while the init mounts.
	Ready func() error

	// Started, if set, is told of the init when the command has been executed. An error ends the run.
	Started func(Process) error

	// pathOverlay forces the overlay branch of kernels that take layers by path only.
	pathOverlay bool
	// plainCopy forces what is done where overlay cannot be mounted.
	plainCopy bool
	// plain says that the process takes every signal, as no bare init does.
	plain bool
	// reaper says that it begins as an init that takes none.
	reaper bool
	// below says that KILL is for what is below the process, which ends then.
	below bool
	// weak leaves one guard out, for tests that have to notice.
	weak weakening
}

// ByPath are the options with the overlay branch forced of kernels that take layers by path only.
func (o Options) ByPath() Options {
	o.pathOverlay = true
	return o
}

// Keep is what must outlive the host process by a moment: locks to hold and paths to remove when all has ended. Run and
// Guard.Close remove the paths themselves; the keeper does it if they never come to that. Locks stay with their files.
type Keep struct {
	Locks  []*os.File
	Remove []string
	// Space, if set, is a user or mount namespace whose processes are killed.
	Space *os.File
	// After is a command line of this program, by a first word it knows, that the keeper executes last.
	After []string
	// Chroot, if set, is the root directory of a container isolated by chroot alone, whose processes are ended one by one.
	Chroot string
	// Cgroups are control groups that are ended and removed before Remove is.
	Cgroups []string
}

// Status is how the command ended.
type Status struct {
	// Code is what a shell would show: the command's own code, 128+n for a signal, 126 or 127 if it could not be started.
	Code int
	// Signal that ended the command, 0 if none did.
	Signal int
	// Outside says that the init was killed by a signal that did not come through the runner.
	Outside bool
	// TimedOut says that the init was killed because it had not ended ten seconds after a stop signal.
	TimedOut bool
	// OverMemory says that a command that failed had a process killed at the limit of memory.
	OverMemory bool
	// TriedNet says that a failed command with Net "none" sent something that no route led out for. Of an exec's it may be
	// another process of the container that did.
	TriedNet bool
}

// DefaultCaps are the capabilities of a container unless Spec.Caps names others: Docker's set.
func DefaultCaps() []string {
	return []string{
		"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
		"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
	}
}

func (s *Spec) ownUsers() bool { return s.UserNS != "host" }
func (s *Spec) ownNet() bool   { return s.Net != "host" }

// idmapped: the container's ids are not those of the files it sees, which are mapped.
func (s *Spec) idmapped() bool { return s.ownUsers() && !s.Nested }

// treeMapped: and those of the root are mapped by its mount.
func (s *Spec) treeMapped() bool { return s.idmapped() && !s.Shifted }

// singleID: there are no other ids than 0.
func (s *Spec) singleID() bool { return s.Nested && s.IDs.Size == 1 }

// EtcFiles are the files that tell a copy its own name and where look-ups go.
func (s Spec) EtcFiles() []File {
	s = s.withDefaults()
	list := []File{{"/etc/hostname", []byte(s.Hostname + "\n")}, {"/etc/hosts", s.Hosts}}
	if s.ResolvConf != nil {
		list = append(list, File{"/etc/resolv.conf", s.ResolvConf})
	}
	return list
}

// withDefaults returns a copy with every empty field that has a default filled in.
func (s Spec) withDefaults() Spec {
	if s.Workdir == "" {
		s.Workdir = "/"
	}
	if s.Hostname == "" {
		s.Hostname = "rootctl"
	}
	if s.chrooted() {
		s.chrootDefaults()
	}
	if s.UserNS == "" {
		s.UserNS = "own"
	}
	if s.Net == "" {
		s.Net = "none"
	}
	if s.Caps == nil {
		s.Caps = DefaultCaps()
	}
	s.bareCaps()
	if s.UserNS == "host" {
		s.NoNewPrivs = true
	}
	if s.Seccomp == "" {
		s.Seccomp = "default"
		if s.Bare { // its mounts are made by hand
			s.Seccomp = "none"
		}
	}
	if s.Umask == 0 {
		s.Umask = 0o022
	}
	if s.Tmpfs == nil && s.Dir == "" && !s.Bare && !s.chrooted() {
		s.Tmpfs = []string{"/tmp", "/run"}
	}
	if s.Hosts == nil {
		s.Hosts = []byte("127.0.0.1 localhost " + s.Hostname + "\n::1 localhost ip6-localhost ip6-loopback\n")
	}
	if s.ResolvConf == nil && s.Net == "none" {
		// TEST-NET-1: look-ups fail at once, for want of a route.
		s.ResolvConf = []byte("nameserver 192.0.2.1\n")
	}
	binds := make([]Bind, len(s.Binds))
	for i, b := range s.Binds {
		if b.Dst == "" {
			b.Dst = b.Src
		}
		b.Dst = path.Clean(b.Dst)
		binds[i] = b
	}
	s.Binds = binds
	return s
}

// maxBinds keeps the descriptors of one message under the kernel's limit of 253.
const maxBinds = 128

// validate refuses a Spec (with defaults) that cannot mean anything.
func (s *Spec) validate() error {
	bad := func(hint, format string, a ...any) error {
		return &SpecError{Problem: fmt.Sprintf(format, a...), Fix: hint}
	}
	switch {
	case (len(s.Lower) == 0) == (s.Dir == ""):
		return bad("give either lower directories or one directory", "no root, or two kinds of root")
	case len(s.Argv) == 0 || s.Argv[0] == "":
		return bad("name a command", "no command")
	case s.UserNS != "own" && s.UserNS != "host":
		return bad(`use "own" or "host"`, "user namespace %q", s.UserNS)
	case s.Net != "none" && s.Net != "host" && s.Net != "nat":
		return bad(`use "none", "host" or "nat"`, "network %q", s.Net)
	case s.Nested && (s.IDs.Base != 0 || s.IDs.Size == 0):
		return bad("give the size of the namespace, from 0", "range of %d ids from %d in a namespace", s.IDs.Size, s.IDs.Base)
	case s.idmapped() && s.IDs.Size < 1000:
		return bad("claim a range of 65536 ids", "range of %d ids for the user namespace", s.IDs.Size)
	case s.idmapped() && (s.IDs.Base == 0 || uint64(s.IDs.Base)+uint64(s.IDs.Size) > 1<<31):
		return bad("claim a range above the ids of real users", "range of ids from %d", s.IDs.Base)
	case s.Seccomp != "default" && s.Seccomp != "none":
		return bad(`use "default" or "none"`, "system call filter %q", s.Seccomp)
	case len(s.Hostname) > 64:
		return bad("use at most 64 bytes", "host name of %d bytes", len(s.Hostname))
	case len(s.Binds) > maxBinds:
		return bad("bind a common parent", "%d binds, at most %d are possible", len(s.Binds), maxBinds)
	case !path.IsAbs(s.Workdir):
		return bad("use an absolute path", "working directory %q", s.Workdir)
	}
	if err := s.checkBinds(); err != nil {
		return err
	}
	for _, f := range s.Files {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || path.Dir(f.Path) == "/" {
			return bad("use an absolute path below a directory", "file at %q", f.Path)
		}
	}
	for _, t := range s.Tmpfs {
		if !path.IsAbs(t) || path.Clean(t) == "/" {
			return bad("use an absolute path below /", "tmpfs at %q", t)
		}
	}
	for _, d := range s.DevNodes {
		if d == "" || d == "." || d == ".." || strings.Contains(d, "/") {
			return bad("use a plain name", "device node %q", d)
		}
	}
	if err := s.checkMemory(); err != nil {
		return err
	}
	if err := s.checkChroot(); err != nil {
		return err
	}
	if err := s.Limits.check(); err != nil {
		return err
	}
	if err := s.checkLearning(); err != nil {
		return err
	}
	if err := s.checkFormat(); err != nil {
		return err
	}
	if err := s.checkUser(); err != nil {
		return err
	}
	return s.noNUL()
}

// noNUL refuses strings that the kernel would read only in part.
func (s *Spec) noNUL() error {
	all := append([]string{s.Workdir, s.Hostname, s.Dir, s.Work}, s.Argv...)
	all = append(append(append(all, s.Env...), s.Tmpfs...), s.Lower...)
	for _, b := range s.Binds {
		all = append(all, b.Src, b.Dst)
	}
	for _, v := range all {
		if strings.IndexByte(v, 0) >= 0 {
			return &SpecError{Problem: fmt.Sprintf("NUL byte in %q", v), Fix: "leave it out"}
		}
	}
	return nil
}

// lookupEnv returns the last value of a variable in an environment, as execve's readers see it.
func lookupEnv(env []string, name string) string {
	v := ""
	for _, e := range env {
		if k, x, ok := strings.Cut(e, "="); ok && k == name {
			v = x
		}
	}
	return v
}
