package main

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/container"
	"github.com/rootctl/rootctl/suites"
)

// app is what all verbs share: the streams, the environment as read once, and the global flags.
type app struct {
	stdin          *os.File
	stdout, stderr *os.File
	getenv         func(string) string
	now            func() time.Time

	cacheDir string
	caFile   string // --ca-file
	quiet    bool
	verbose  bool

	cancel context.CancelFunc // of the command's context

	argv     []string // the command line after the program's name
	inside   *inside  // in a user namespace
	warnings []string // see warnAtStart
	byPath   bool     // overlays as on kernels that take layers by path only; tests alone set it
	unsealed bool     // exec leaves the program's file to what joins; tests alone set it
	shifted  bool     // runs use a shifted tree; tests alone set it
	chroot   bool     // no namespaces: --isolation=chroot
	enterErr error    // why there is no user namespace for this user
	signals  container.SignalSource

	helperTime time.Duration // bound of a credential helper; tests alone set it

	verb      string // as the command line names it, "" if it does not
	exit      int    // exit code of a verb that succeeded, e.g. that of the command run
	monitor   bool   // of a detached container
	verbIsRun bool   // failures are 125
	last      bool   // the process ends with the verb
}

func newApp(cancel context.CancelFunc) *app {
	return &app{cancel: cancel, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, now: time.Now}
}

func newRootCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:           "rootctl",
		Short:         "Debian and Ubuntu root filesystems: built, cached, and run in fresh, isolated copies",
		Long:          "rootctl makes Debian and Ubuntu root filesystems, keeps them in a content-addressed cache\nand runs commands in fresh, isolated copies of them.",
		Example:       "  rootctl run bionic bash              # builds what is missing, then a shell in a fresh copy\n  rootctl run --here bionic-buildd -- make check\n  rootctl build bookworm --variant buildd\n  rootctl ls",
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version(),
	}
	c.CompletionOptions.HiddenDefaultCmd = true
	f := c.PersistentFlags()
	f.StringVar(&a.cacheDir, "cache", "", "cache `folder` (default $ROOTCTL_CACHE, else /var/cache/rootctl for root, else the user's cache folder)")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "print results and errors only")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "log what is done to stderr")
	f.BoolVar(&a.monitor, "monitor", false, "")
	f.Lookup("monitor").Hidden = true // detach's
	c.SetFlagErrorFunc(badFlag)
	c.DisableSuggestions = true // noVerb has them
	c.CompletionOptions.DisableDefaultCmd = a.verbIsRun
	switch a.verb { // these two are to start soonest: the flags of all the others take a tenth of a millisecond
	case "run":
		c.AddCommand(newRunCommand(a))
		return c
	case "exec":
		c.AddCommand(newExecCommand(a))
		return c
	}
	c.AddCommand(newRunCommand(a), newExecCommand(a))
	c.AddCommand(newEachCommand(a), newCICommand(a), newBuildCommand(a), newEnsureCommand(a), newBundleCommand(a), newLockCommand(a), newLsCommand(a), newShowCommand(a),
		newTagCommand(a), newUntagCommand(a), newSuitesCommand(a), newExportCommand(a), newImportCommand(a), newPushCommand(a), newPullCommand(a), newCacheCommand(a), newDoctorCommand(a),
		newVersionCommand(a), newManualCommand(a), newSbomCommand(a), newProvenanceCommand(a))
	c.AddCommand(newPsCommand(a), newTopCommand(a), newInspectCommand(a), newLogsCommand(a), newStopCommand(a), newKillCommand(a), newWaitCommand(a), newRmCommand(a), newDiffCommand(a), newCommitCommand(a))
	a.completeContainers(c)
	arrange(c)
	return c
}

// cachePath is --cache, else $ROOTCTL_CACHE, else the default of CACHE's table: root's is the
// machine's, a user's is their own.
func (a *app) cachePath() (string, error) {
	for _, dir := range []string{a.cacheDir, a.getenv("ROOTCTL_CACHE")} {
		if dir != "" {
			return filepath.Abs(dir)
		}
	}
	if os.Geteuid() == 0 && a.inside == nil {
		return rootsCache, nil
	}
	if dir := container.UserCache(a.getenv, os.Geteuid(), container.OwnerOf, container.PasswdHome); dir != "" {
		return dir, nil
	}
	return "", withHint(fmt.Errorf("find the cache folder: neither XDG_CACHE_HOME nor HOME is set"), "name one with --cache DIR or ROOTCTL_CACHE")
}

// existingStore opens the cache for a verb that makes nothing in it. A folder of --cache that is not there is an error,
// for it may be misspelt; elsewhere a cache that nothing has made yet is empty.
func (a *app) existingStore() (*cache.Store, error) {
	s, err := a.openAs(cache.Options{Existing: true})
	if err != nil || !s.Absent() {
		return s, err
	}
	if _, err := os.Lstat(s.Dir()); err != nil && a.cacheDir != "" {
		return nil, withHint(&notFound{fmt.Errorf("open cache: there is none in %s", s.Dir())}, "check the folder of --cache; build and import make one there")
	}
	a.say("there is no cache in %s yet", s.Dir())
	return s, nil
}

func (a *app) openStore() (*cache.Store, error) { return a.openAs(cache.Options{}) }

func (a *app) openAs(o cache.Options) (*cache.Store, error) {
	dir, err := a.cachePath()
	if err != nil {
		return nil, err
	}
	o.Log, o.Now = a.log(), a.now
	s, err := cache.Open(dir, o)
	if err != nil && hintOf(err) == "" {
		err = withHint(err, "name a folder for it with --cache DIR or ROOTCTL_CACHE")
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (a *app) log() *slog.Logger {
	if !a.verbose {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// say prints a line for people, on stderr: stdout is for results.
func (a *app) say(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintln(a.stderr, printable(fmt.Sprintf(format, args...)))
	}
}

// warn prints even under --quiet.
func (a *app) warn(format string, args ...any) {
	fmt.Fprintln(a.stderr, "warning: "+printable(fmt.Sprintf(format, args...)))
}

// warnAtStart warns of what a flag of run gives away, once: a run that goes on in another process reads its flags again there.
func (a *app) warnAtStart(format string, args ...any) {
	a.warnings = append(a.warnings, fmt.Sprintf(format, args...))
}

// suites are the embedded definitions and those of the suites folders beside the configuration files.
func (a *app) suites() (*suites.Set, error) {
	var own []fs.FS
	for _, file := range a.configFiles() {
		dir := filepath.Join(filepath.Dir(file), "suites")
		own = append(own, suites.Folder{FS: os.DirFS(dir), Name: dir})
	}
	return suites.Load(own...)
}

// hostArch is Debian's name of the architecture rootctl runs on.
func hostArch() string {
	switch runtime.GOARCH {
	case "386":
		return "i386"
	case "arm":
		return "armhf"
	case "ppc64le":
		return "ppc64el"
	}
	return runtime.GOARCH
}

// catchSignals has the first INT, TERM, HUP or QUIT cancel the command's context until release is called; the
// next one ends the process. Verbs that leave nothing behind when they just end do without, and run
// passes signals in.
func (a *app) catchSignals() (release func()) {
	ch := make(chan os.Signal, 1)
	done := make(chan struct{})
	a.signals.Notify(ch, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	go func() {
		select {
		case <-ch:
			a.signals.Stop(ch)
			a.cancel()
		case <-done:
		}
	}()
	return func() {
		a.signals.Stop(ch)
		close(done)
	}
}

// typed is how this program is called for the same cache again.
func (a *app) typed() string {
	if a.cacheDir != "" {
		return "rootctl --cache " + shellWord(a.cacheDir)
	}
	return "rootctl"
}
