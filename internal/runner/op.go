package runner

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Verb is what an operation does.
type Verb string

// Operations of the host process.
const (
	VerbKeeper  Verb = "keeper"   // fork the keeper
	VerbClone   Verb = "clone"    // make the init in new namespaces (Options)
	VerbLimit   Verb = "limit"    // make control groups with the limits of Options, and move the init there
	VerbMapIDs  Verb = "map-ids"  // write the id maps
	VerbOverlay Verb = "overlay"  // make the copy: an overlay of Source (lower, joined by :) and Target (work)
	VerbCopy    Verb = "copy"     // copy the directories of Options, topmost first, to Target
	VerbNodes   Verb = "nodes"    // make device nodes, further null ones by Options, in Target
	VerbTree    Verb = "tree"     // take the directory Source as root
	VerbConnect Verb = "connect"  // connect the network namespace
	VerbBindSrc Verb = "bind-src" // take Source for the bind at Target
)

// Operations of the container's init.
const (
	VerbStart     Verb = "start"        // die with the parent, stdio, close all inherited descriptors
	VerbJoin      Verb = "join"         // enter the namespaces of a running container
	VerbReady     Verb = "ready"        // wait for the id maps
	VerbUnshare   Verb = "unshare"      // the rest of the namespaces (Options), while the host makes the root
	VerbReceive   Verb = "receive"      // wait for the host process and take its mounts
	VerbBecome    Verb = "become-root"  // ids 0 of the user namespace
	VerbFormat    Verb = "format"       // register Data with binfmt_misc; with Options it may be refused
	VerbSlave     Verb = "slave"        // mounts no longer propagate to the host
	VerbRoot      Verb = "attach-root"  // the root becomes a mount of this namespace
	VerbMount     Verb = "mount"        // new file system of Type at Target
	VerbHostSys   Verb = "bind-host"    // Source of the host, with all below it, at Target
	VerbHidden    Verb = "hidden"       // new file system of Type below what is seen at Target
	VerbReadOnly  Verb = "read-only"    // Target of /proc over itself
	VerbMask      Verb = "mask"         // hide Target (Type "dir" or "file")
	VerbNode      Verb = "node"         // Source of the host's /dev at Target
	VerbDir       Verb = "dir"          // directory Target in a file system of ours
	VerbLink      Verb = "link"         // symbolic link Target -> Source in our /dev
	VerbTerminal  Verb = "terminal"     // open a terminal of our devpts, send its master
	VerbConsole   Verb = "console"      // the terminal at Target
	VerbLoopback  Verb = "loopback"     // lo up
	VerbHostname  Verb = "hostname"     // Source
	VerbFile      Verb = "file"         // Target with Data, replacing whatever is there
	VerbBind      Verb = "bind"         // tree number Index at Target (Type "dir" or "file")
	VerbSealRoot  Verb = "seal"         // the root becomes read-only
	VerbPivot     Verb = "pivot"        // the root becomes /, the old one goes
	VerbChroot    Verb = "chroot"       // the root becomes / of this process alone
	VerbInit      Verb = "init"         // stay as the reaper; the child goes on
	VerbSession   Verb = "session"      // session, terminal, keyring, umask
	VerbGo        Verb = "go"           // wait for the host process's own preparations
	VerbCloseRest Verb = "close-rest"   // no descriptor beyond stdio
	VerbWorkdir   Verb = "workdir"      // chdir Target
	VerbLinux32   Verb = "linux32"      // uname names a processor of 32 bits
	VerbNoPrivs   Verb = "no-new-privs" //
	VerbFilter    Verb = "filter"       // seccomp filter Type
	VerbOwners    Verb = "owners"       // filter that asks the host process about owners, send its listener
	VerbCaps      Verb = "capabilities" // Options are kept
	VerbUser      Verb = "user"         // the ids and groups of Options
	VerbExec      Verb = "exec"         // Options are argv
)

// Op is one operation of a Plan. Which fields mean something depends on Verb.
type Op struct {
	Host    bool     `json:"host,omitempty"` // done by the host process
	Verb    Verb     `json:"verb"`
	Type    string   `json:"type,omitempty"`
	Source  string   `json:"source,omitempty"`
	Target  string   `json:"target,omitempty"`
	Attrs   uint64   `json:"attrs,omitempty"` // MOUNT_ATTR_*
	Options []string `json:"options,omitempty"`
	Mode    uint32   `json:"mode,omitempty"`
	Index   int      `json:"index,omitempty"`
	Replace bool     `json:"replace,omitempty"` // what is in the way may be removed: it is a copy
	Data    []byte   `json:"data,omitempty"`

	shared bool // mounts go on propagating, as a test wants it
}

// Name is the operation in words, for errors.
func (o Op) Name() string {
	parts := []string{string(o.Verb)}
	for _, s := range []string{o.Type, o.Source} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	if o.Target != "" {
		parts = append(parts, "at", o.Target)
	}
	return strings.Join(parts, " ")
}

// String is one line of a printed plan.
func (o Op) String() string {
	side := "init"
	if o.Host {
		side = "host"
	}
	f := []string{side, fmt.Sprintf("%-12s", o.Verb)}
	for _, s := range []string{o.Type, o.Source} {
		if s != "" {
			f = append(f, s)
		}
	}
	if o.Target != "" {
		f = append(f, "-> "+o.Target)
	}
	if o.Mode != 0 {
		f = append(f, fmt.Sprintf("mode=%#o", o.Mode))
	}
	if a := attrNames(o.Attrs); a != "" {
		f = append(f, a)
	}
	if len(o.Options) > 0 {
		f = append(f, strings.Join(o.Options, ","))
	}
	if o.Replace {
		f = append(f, "replacing")
	}
	if len(o.Data) > 0 {
		f = append(f, fmt.Sprintf("(%d bytes)", len(o.Data)))
	}
	return strings.TrimRight(strings.Join(f, " "), " ")
}

func attrNames(a uint64) string {
	var n []string
	for _, x := range [...]struct {
		bit  uint64
		name string
	}{
		{unix.MOUNT_ATTR_RDONLY, "ro"}, {unix.MOUNT_ATTR_NOSUID, "nosuid"}, {unix.MOUNT_ATTR_NODEV, "nodev"},
		{unix.MOUNT_ATTR_NOEXEC, "noexec"}, {unix.MOUNT_ATTR_IDMAP, "idmap"},
	} {
		if a&x.bit != 0 {
			n = append(n, x.name)
		}
	}
	return strings.Join(n, ",")
}

// Plan is what a run does, in order: the host's operations and the init's, each list in its own order.
type Plan []Op

// String prints a line for each operation.
func (p Plan) String() string {
	var b strings.Builder
	for _, o := range p {
		b.WriteString(o.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// find returns the first operation with a verb.
func (p Plan) find(v Verb) Op {
	for _, o := range p {
		if o.Verb == v {
			return o
		}
	}
	return Op{Verb: v}
}
