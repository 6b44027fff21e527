package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/container"
	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/runner"
)

// executor runs a build's maintainer scripts in containers of the runner: root inside is nobody
// outside, over an idmapped view of the target, so no package ever runs as the host's root.
type executor struct {
	log  *slog.Logger
	note func(format string, args ...any)

	chroot    bool // no namespaces: they are refused here
	said      map[string]bool
	hostUsers bool           // no user namespace: --userns=host
	shift     bool           // the target cannot be idmapped: its files have the container's ids while a command runs
	inside    *inside        // in an ordinary user's namespace
	owners    *cache.Owners  // where there is but one id
	format    *runner.Format // of the target's programs, where the machine does not run them itself
	network   hookNetwork    // of hooks that have one
	linux32   bool           // they are of 32 bits, and the processor's own ones are not
}

// buildCaps are the default capabilities less the making of device nodes, which no maintainer script
// of a build needs and which would open the host's disks to it.
var buildCaps = []string{"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "SETFCAP", "SYS_CHROOT", "AUDIT_WRITE"}

// Exec runs one command of a build.
func (e *executor) Exec(ctx context.Context, c debootstrap.Command) (int, error) {
	spec := runner.Spec{Dir: c.Dir, Argv: c.Argv, Env: c.Env, Workdir: "/", Hostname: "localhost", Net: "none",
		NoFsync: true, Umask: 0o022, Caps: buildCaps, NoNewPrivs: true, Format: e.format, Linux32: e.linux32}
	if c.Devfsd {
		spec.DevNodes = []string{".devfsd"}
	}
	if c.Network != "" {
		spec.Net = c.Network
		spec.Env = append(spec.Env, e.network.env(c.Env)...)
	}
	if e.chroot {
		return e.byChroot(ctx, spec, c)
	}
	spec.RecordOwners = e.owners != nil
	if e.inside.idsOf(&spec) {
		return e.exec(ctx, spec, &runner.Keep{}, c.Output)
	}
	if !e.hostUsers || c.Unverified {
		status, err := e.inOwnUsers(ctx, spec, c.Output)
		if runner.Refused(err) && runner.CanChroot() {
			if runner.CanMount() {
				return status, withHint(err, "only user namespaces are refused here: rootctl build --userns=host")
			}
			e.chroot = true
			return e.byChroot(ctx, spec, c)
		}
		return status, err
	}
	spec.UserNS = "host"
	return e.exec(ctx, spec, &runner.Keep{}, c.Output)
}

// byChroot runs a command with no namespace and no mount.
func (e *executor) byChroot(ctx context.Context, spec runner.Spec, c debootstrap.Command) (int, error) {
	if c.Unverified {
		return 0, withHint(errors.New("namespaces are refused here, and scripts that nobody signed are not run by chroot alone"),
			"leave --no-verify out, or build it where namespaces are allowed: rootctl doctor")
	}
	e.noteOnce("namespaces are refused here: the packages' scripts run by chroot, as root, with the network and processes that rootctl has")
	spec.Isolation, spec.UserNS, spec.Net = "chroot", "host", "host"
	return e.exec(ctx, spec, &runner.Keep{}, c.Output)
}

// noteOnce says what holds for all commands of a build.
func (e *executor) noteOnce(s string) {
	if e.said[s] {
		return
	}
	if e.said == nil {
		e.said = map[string]bool{}
	}
	e.said[s] = true
	e.note("note: %s", s)
}

func (e *executor) inOwnUsers(ctx context.Context, spec runner.Spec, out io.Writer) (int, error) {
	ids, lock, err := runner.ClaimIDs(idsDir)
	if err != nil {
		return 0, err
	}
	defer lock.Close()
	spec.UserNS, spec.IDs = "own", ids
	keep := &runner.Keep{Locks: []*os.File{lock}}
	if !e.shift {
		status, err := e.exec(ctx, spec, keep, out)
		var step *runner.StepError
		if !errors.As(err, &step) || step.Op.Verb != runner.VerbTree || step.Call != "mount_setattr" {
			return status, err
		}
		e.shift = true
		e.note("note: ids cannot be mapped on the cache's file system: the target's files change owners for each command")
	}
	return e.inShifted(ctx, spec, keep, out)
}

// inShifted gives the target's files to the container for as long as the command runs. A build that is killed meanwhile
// leaves a target that nobody goes on with.
func (e *executor) inShifted(ctx context.Context, spec runner.Spec, keep *runner.Keep, out io.Writer) (int, error) {
	if err := runner.ShiftTree(spec.Dir, spec.IDs, false); err != nil {
		return 0, err
	}
	spec.Shifted = true
	status, err := e.exec(ctx, spec, keep, out)
	if back := runner.ShiftTree(spec.Dir, spec.IDs, true); back != nil {
		return 0, errors.Join(err, back)
	}
	return status, err
}

// exec runs spec with both outputs copied to out.
func (e *executor) exec(ctx context.Context, spec runner.Spec, keep *runner.Keep, out io.Writer) (int, error) {
	connect, done, err := e.network.prepare(&spec, keep)
	if err != nil {
		return 0, err
	}
	defer done()
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(out, r)
		copied <- err
	}()
	status, err := runner.Run(ctx, spec, runner.Options{Stdout: w, Stderr: w, Keep: keep, Owners: e.owners, Connect: connect, Log: e.log, Note: e.noteOnce})
	w.Close()
	cerr := <-copied
	if err != nil && ctx.Err() != nil {
		// Ended while it was being set up: what of that failed first is chance.
		return 0, ctx.Err()
	}
	if err != nil {
		return 0, err
	}
	if cerr != nil {
		return 0, fmt.Errorf("read the output of %s: %w", spec.Argv[0], cerr)
	}
	return status.Code, nil
}

// idsDir is where running containers claim their id ranges.
const idsDir = container.IDsDir

// runIn runs spec in a fresh copy of the leased root; the copy is gone when it returns.
func (a *app) runIn(ctx context.Context, store *cache.Store, lease *cache.Lease, spec runner.Spec, fl *runFlags, name string) (runner.Status, error) {
	// From here on signals are the command's: the runner passes them in, so ctx must not stop it as well. To take
	// them over needs threads, which are made while the copy is prepared.
	signals, taken := make(chan os.Signal, 8), make(chan struct{})
	go func() {
		a.signals.Notify(signals, runSignals...)
		close(taken)
	}()
	defer func() {
		<-taken
		if !a.last { // to let six signals go takes as many changes of threads
			a.signals.Stop(signals)
		}
	}()
	keep := &runner.Keep{}
	if f := lease.LockFile(); f != nil { // nil in a read-only cache, where nothing can be removed
		keep.Locks = append(keep.Locks, f)
	}
	rec, err := a.newRecord(&fl.stateFlags, name, lease, store)
	if err != nil {
		return runner.Status{}, err
	}
	begun := false
	defer func() {
		if !begun && rec.Handle != nil {
			_ = rec.Remove() // the next sweep does it
		}
	}()
	rec.hold(keep)
	if !store.ReadOnly() && !fl.inMemory() { // else what the copy changes stays in memory
		scratch, err := store.Scratch()
		if err != nil {
			return runner.Status{}, err
		}
		defer scratch.Close()
		spec.Work, spec.KeepWork = scratch.Path, true
		if rec.Handle != nil && rec.Keep {
			rec.Copy, spec.KeepCopy = scratch.Path, true
			if err := scratch.Keep(lease.Root); err != nil {
				return runner.Status{}, err
			}
			defer func() {
				if !begun || rec.Ended.IsZero() { // the command was not executed
					scratch.Close()
					_ = store.Discard(scratch.Path) // an error leaves an empty folder
				}
			}()
		}
		keep.Locks = append(keep.Locks, scratch.LockFile())
	}
	if a.inside == nil && spec.UserNS == "own" && (a.shifted || !runner.CanMapIDs(lease.Tree)) {
		lock, err := a.shiftedRoot(lease, &spec)
		if err != nil {
			return runner.Status{}, err
		}
		if lock != nil {
			defer lock.Close()
			keep.Locks = append(keep.Locks, lock)
		}
	}
	if !spec.Shifted && !a.inside.idsOf(&spec) && spec.UserNS == "own" {
		ids, lock, err := runner.ClaimIDs(idsDir)
		if err != nil {
			return runner.Status{}, err
		}
		defer lock.Close()
		spec.IDs = ids
		keep.Locks = append(keep.Locks, lock)
	}
	var network netRun
	if spec.Net == "nat" {
		if err := a.prepareNet(&spec, keep, &network); err != nil {
			return runner.Status{}, err
		}
		defer network.close(a)
	}
	if spec.Net == "host" {
		// The host's network needs the host's look-ups. A file that is not there leaves the root's own.
		if spec.ResolvConf == nil {
			spec.ResolvConf, _ = os.ReadFile("/etc/resolv.conf")
		}
		if hosts, err := os.ReadFile("/etc/hosts"); err == nil {
			spec.Hosts = fmt.Appendf(hosts, "\n127.0.1.1 %s\n", spec.Hostname)
		}
	}
	if err := a.fitOwners(lease); err != nil {
		return runner.Status{}, err
	}
	if !spec.Shifted {
		spec.Lower = []string{lease.Tree}
	}
	if !spec.Shifted && !container.OddEtc(lease.Tree) {
		if etc, err := container.EtcLayer(store, &spec); err == nil {
			defer etc.Close()
			spec.Lower, spec.EtcBelow = []string{etc.Path, lease.Tree}, true
			keep.Locks = append(keep.Locks, etc.LockFile())
		} else if !errors.Is(err, cache.ErrReadOnly) && !errors.Is(err, cache.ErrBusy) { // else the copy gets files of its own
			return runner.Status{}, err
		}
	}
	if a.inside.single() && inRoot(lease.Tree, "apt-get") {
		// apt would become a user that is not there. Only this copy is told.
		spec.Files = append(spec.Files, runner.File{Path: "/etc/apt/apt.conf.d/99rootctl-single-id", Data: []byte("APT::Sandbox::User \"root\";\n")})
	}
	options := runner.Options{Stdin: a.stdin, Stdout: a.stdout, Stderr: a.stderr,
		Signals: signals, Keep: keep, WatchNet: true, Connect: network.connect, Log: a.log(), Note: func(s string) { a.say("note: %s", s) }}
	options.Ready = func() error {
		<-taken
		return ctx.Err()
	}
	if a.byPath {
		options = options.ByPath()
	}
	begun = true
	return a.withRecord(ctx, store, rec, spec, options)
}

// warnUnverified reminds of a root that nobody's signature stands behind.
func (a *app) warnUnverified(name string, ref cache.Ref) {
	if isUnverified(ref) {
		a.warn("UNVERIFIED: %s was built with --no-verify", name)
	}
}

func isUnverified(ref cache.Ref) bool {
	if !bytes.Contains(ref.Info, []byte(`"unverified"`)) { // left out when false; a whole parse costs a run 0.1 ms
		return false
	}
	var i debootstrap.Info
	return json.Unmarshal(ref.Info, &i) == nil && i.Unverified
}
