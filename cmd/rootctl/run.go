package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/container"
	"github.com/rootctl/rootctl/internal/runner"
)

// runFlags are the flags of run beside those that select a root.
type runFlags struct {
	net     string
	binds   []string
	here    bool
	workdir string
	env     []string
	userns  string
	noBuild bool
	netFlags
	copyFlags
	commandFlags
	learn learnFlags
	guardFlags
	stateFlags
	limitFlags
	isolationFlags
}

func newRunCommand(a *app) *cobra.Command {
	var sel selection
	var fl runFlags
	c := &cobra.Command{
		Use:   "run [flags] NAME [--] [COMMAND [ARG...]]",
		Short: "run a command in a fresh, isolated copy of a root; the copy is gone on exit",
		Long: "run starts a command in a fresh copy of the root NAME, with namespaces of its own for users, mounts,\n" +
			"processes, network, host name, IPC and control groups. A NAME that is a known suite and not in the\n" +
			"cache is built first. Without a command it starts bash, or sh where there is none. Flags end at NAME.",
		Example: "  rootctl run bionic bash\n  rootctl run --here bionic-buildd -- make check\n  rootctl run --net=host bookworm apt-get update\n" +
			"  rootctl run --bind ./src:/src:ro xenial ls -la /src",
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, given []string) error {
			a.verbIsRun = true
			name, argv := given[0], given[1:]
			if len(argv) > 0 && argv[0] == "--" {
				argv = argv[1:]
			} else if err := lateFlag(c.Flags(), given); err != nil {
				return err
			}
			if err := sel.recipeNetwork(a, name, c.Flags().Lookup("net")); err != nil {
				return fmt.Errorf("run %s: %w", name, err)
			}
			return a.run(c.Context(), &sel, &fl, name, argv)
		},
	}
	c.Flags().SetInterspersed(false)
	c.Flags().SortFlags = false // what run is for comes first
	fl.register(c.Flags(), &sel)
	return c
}

// register gives a verb the flags of run.
func (fl *runFlags) register(f *pflag.FlagSet, sel *selection) {
	f.StringVar(&fl.net, "net", "none", "network `mode`: none (loopback only), host, or nat (its own, behind the host's)")
	fl.netFlags.register(f)
	f.StringArrayVar(&fl.binds, "bind", nil, "show a folder or file of the host inside: `SRC[:DST][:ro][:idmap=identity]`, may be repeated")
	f.BoolVar(&fl.here, "here", false, "bind the current folder at the same path and start there")
	f.StringVar(&fl.workdir, "workdir", "", "`folder` inside to start in (default /, with --here the current one)")
	f.StringArrayVar(&fl.env, "env", nil, "set a variable inside: `NAME=VALUE`, or NAME to pass the current value; may be repeated")
	f.StringVar(&fl.userns, "userns", "own", "user namespace `mode`: own (root inside is nobody outside) or host (root inside is who called)")
	f.BoolVar(&fl.noBuild, "no-build", false, "fail when the root is not in the cache")
	fl.copyFlags.register(f)
	fl.commandFlags.register(f)
	fl.stateFlags.register(f) // before learn, which shares --json
	fl.learn.register(f)
	fl.guardFlags.register(f)
	fl.limitFlags.register(f)
	fl.isolationFlags.register(f)
	sel.register(f)
	sel.registerLock(f)
	sel.registerRemote(f)
}

// lateFlag refuses a flag of run's own behind NAME before anything is built: no command is called that.
func lateFlag(f *pflag.FlagSet, given []string) error {
	if len(given) < 2 {
		return nil
	}
	word, _, _ := strings.Cut(given[1], "=")
	long, isLong := strings.CutPrefix(word, "--")
	short, isShort := strings.CutPrefix(word, "-")
	if isLong && f.Lookup(long) != nil || !isLong && isShort && len(short) == 1 && f.ShorthandLookup(short) != nil {
		return withHint(&flagError{fmt.Errorf("run %s: the flag %s stands behind NAME, where the command begins", given[0], word)},
			"flags of rootctl go before NAME: rootctl run %s ... %s [--] COMMAND", word, given[0])
	}
	return nil
}

// seal keeps rootctl's own file from containers in which its owner is root.
func seal(userns string) error {
	if userns != "host" || os.Geteuid() != 0 {
		return nil
	}
	return runner.SealSelf(os.Args, os.Environ())
}

// run finds or builds the root, runs the command in a fresh copy and sets the exit code.
func (a *app) run(ctx context.Context, sel *selection, fl *runFlags, name string, argv []string) error {
	spec, err := a.spec(fl, argv)
	if err != nil {
		return err
	}
	if err := fl.stateFlags.check(fl.inMemory()); err != nil {
		return err
	}
	if fl.detach && !a.monitor {
		return a.detach(ctx)
	}
	if err := sealFor(&spec); err != nil {
		return fmt.Errorf("run %s: %w", name, err)
	}
	store, err := a.openStore()
	if err != nil {
		return err
	}
	if done, err := a.enterToMount(); done || err != nil {
		return err
	}
	for _, w := range a.warnings {
		a.warn("%s", w)
	}
	lease, arch, err := a.rootFor(ctx, store, sel, name, fl.noBuild)
	if err != nil {
		return err
	}
	defer lease.Close()
	spec.Linux32 = runner.Sisters(hostArch(), arch)
	if spec.Format, err = a.format(arch); err != nil {
		return fmt.Errorf("run %s: %w", name, err)
	}
	if err := fl.become(&spec, lease.Tree); err != nil {
		return fmt.Errorf("run %s: %w", name, err)
	}
	if err := putCA(sel.caFile, &spec, lease.Tree); err != nil {
		return fmt.Errorf("run %s: %w", name, err)
	}
	if len(spec.Argv) == 0 {
		spec.Argv = []string{"sh"}
		if inRoot(lease.Tree, "bash") {
			spec.Argv = []string{"bash"}
		}
	}
	if fl.learn.printPlan != "" {
		return fl.learn.show(a, store, lease, spec)
	}
	status, err := a.runIn(ctx, store, lease, spec, fl, name)
	if err != nil {
		err = fmt.Errorf("run %s: %w", name, err)
		var command *runner.CommandError
		if !errors.As(err, &command) {
			return err
		}
		if hint := missingHint(lease.Tree, spec.Argv[0]); hint != "" && status.Code == 127 {
			err = withHint(err, "%s", hint)
		}
		return &commandFailed{err, status.Code}
	}
	if status.OverMemory {
		a.sayOverMemory(spec.Limits, status.Code)
	} else if status.Outside {
		fmt.Fprintln(a.stderr, container.Killed(status.Signal))
	}
	if status.TriedNet {
		fmt.Fprintln(a.stderr, container.TriedNet+container.AddNet)
	}
	if status.TimedOut {
		fmt.Fprintln(a.stderr, container.TimedOut)
	}
	a.reportEnd(&fl.stateFlags, status)
	a.exit = status.Code
	return nil
}

// rootFor leases the root a name and selecting flags stand for, and says its architecture. It asks no mirror for a cached one.
func (a *app) rootFor(ctx context.Context, store *cache.Store, sel *selection, name string, noBuild bool) (_ *cache.Lease, arch string, _ error) {
	if sel.lockFile != "" {
		return a.lockedRootFor(ctx, store, sel, name, noBuild)
	}
	of, err := sel.recipeRoot(a, name)
	if err != nil {
		return nil, "", fmt.Errorf("run %s: %w", name, err)
	}
	var gone *goneRoot
	if !sel.given() && of == nil {
		ref, err := a.lookUp(store, name) // Lease sees whether it is there
		if err == nil {
			lease, err := store.Lease(ctx, ref.Root)
			if err == nil {
				a.warnUnverified(name, ref)
				return lease, archOf(ref), nil
			}
			if !errors.Is(err, cache.ErrNotFound) {
				return nil, "", fmt.Errorf("run %s: %w", name, err)
			}
			gone = a.gone(name, ref)
		} else if !errors.Is(err, cache.ErrNotFound) {
			return nil, "", fmt.Errorf("run %s: %w", name, err)
		}
	}
	set, err := a.suites()
	if err != nil {
		return nil, "", err
	}
	req, err := sel.request(a, set, name)
	if err != nil && gone != nil {
		return nil, "", &notFound{fmt.Errorf("run %s: %w", name, gone)}
	}
	if req, err = a.settle(ctx, store, sel, set, name, req, err); err != nil {
		return nil, "", fmt.Errorf("run %s: %w", name, fileNamed(name, err))
	}
	if sel.given() || of != nil {
		if lease, ok := a.lastBuilt(ctx, store, req); ok {
			return lease, req.Arch, nil
		}
	}
	if noBuild {
		return nil, "", withHint(&notFound{fmt.Errorf("run %s: it is not in the cache, and --no-build was given", name)}, "rootctl build %s", name)
	}
	if of != nil {
		a.say("%s, as %s has it, is not in the cache: building it first", name, sel.recipeFile())
	} else if sel.given() {
		a.say("no root of %s with these flags is in the cache: building it first", name)
	} else {
		a.say("%s is not in the cache: building it first", name)
	}
	b, err := a.build(ctx, store, req, buildOptions{remote: &sel.remoteFlags})
	if err != nil {
		return nil, "", err
	}
	a.builtLine(b)
	return b.Lease, req.Arch, nil
}

// spec turns flags and command into what the runner needs, bar the root.
func (a *app) spec(fl *runFlags, argv []string) (runner.Spec, error) {
	s := runner.Spec{Argv: argv, Workdir: fl.workdir, Net: fl.net, UserNS: fl.userns, Hostname: "rootctl", Umask: 0o022}
	s.TTY = fl.tty || term.IsTerminal(int(a.stdin.Fd())) && term.IsTerminal(int(a.stdout.Fd()))
	if fl.net != "none" && fl.net != "host" && fl.net != "nat" {
		return s, withHint(&flagError{fmt.Errorf("unknown network %q", fl.net)}, "--net=none, --net=host or --net=nat")
	}
	if fl.userns != "own" && fl.userns != "host" {
		return s, withHint(&flagError{fmt.Errorf("unknown user namespace %q", fl.userns)}, "--userns=own or --userns=host")
	}
	if fl.workdir != "" && !filepath.IsAbs(fl.workdir) {
		return s, withHint(&flagError{fmt.Errorf("--workdir %s is not an absolute path", fl.workdir)}, "give a path inside, like /src")
	}
	if fl.here {
		cwd, err := os.Getwd()
		if err != nil {
			return s, fmt.Errorf("find the current folder: %w", err)
		}
		s.Binds = append(s.Binds, runner.Bind{Src: cwd, Dst: cwd})
		if s.Workdir == "" {
			s.Workdir = cwd
		}
	}
	for _, b := range fl.binds {
		bind, err := parseBind(b)
		if err != nil {
			return s, err
		}
		s.Binds = append(s.Binds, bind)
	}
	if err := fl.netFlags.apply(&s); err != nil {
		return s, err
	}
	if err := fl.copyFlags.apply(&s); err != nil {
		return s, err
	}
	if err := fl.guardFlags.apply(&s); err != nil {
		return s, err
	}
	if err := fl.limitFlags.apply(&s); err != nil {
		return s, err
	}
	if err := fl.commandFlags.apply(&s); err != nil {
		return s, err
	}
	if err := fl.learn.apply(a, &s); err != nil {
		return s, err
	}
	if err := fl.isolationFlags.apply(a, fl, &s); err != nil {
		return s, err
	}
	env, err := readEnvFiles(fl.envFiles)
	if err != nil {
		return s, err
	}
	s.Env, err = a.innerEnv(append(env, fl.env...), s.TTY, s.Net != "none")
	return s, err
}

// parseBind reads SRC[:DST][:ro][:idmap=identity]; SRC is relative to the current folder.
func parseBind(arg string) (runner.Bind, error) {
	bad := func(why string) (runner.Bind, error) {
		return runner.Bind{}, withHint(&flagError{fmt.Errorf("--bind %s: %s", arg, why)}, "--bind SRC[:DST][:ro], for example --bind ./src:/src:ro")
	}
	parts := strings.Split(arg, ":")
	var b runner.Bind
	for len(parts) > 1 {
		switch parts[len(parts)-1] {
		case "ro":
			b.ReadOnly = true
		case "rw":
		case "idmap=identity":
			b.Identity = true
		default:
			goto paths
		}
		parts = parts[:len(parts)-1]
	}
paths:
	if len(parts) > 2 || parts[0] == "" {
		return bad("it has more than a source and a place, or no source")
	}
	src, err := filepath.Abs(parts[0])
	if err != nil {
		return bad(err.Error())
	}
	b.Src, b.Dst = src, src
	if len(parts) == 2 {
		b.Dst = filepath.Clean(parts[1])
	}
	if !filepath.IsAbs(b.Dst) || b.Dst == "/" {
		return bad("the place inside must be an absolute path other than /")
	}
	if _, err := os.Stat(src); err != nil {
		return runner.Bind{}, withHint(&notFound{fmt.Errorf("--bind: %w", err)}, "make it first, or check the path")
	}
	return b, nil
}

// innerEnv is the environment inside: little, and the same everywhere, but for what the user passes.
func (a *app) innerEnv(given []string, tty, network bool) ([]string, error) {
	env := container.Env()
	pass := func(name string) {
		if v := a.getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	if tty {
		pass("TERM")
	}
	if network {
		for _, n := range []string{"http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"} {
			pass(n)
		}
	}
	for _, e := range given {
		name, _, ok := strings.Cut(e, "=")
		if name == "" || strings.ContainsRune(e, 0) {
			return nil, withHint(&flagError{fmt.Errorf("--env %q names no variable", e)}, "--env NAME=VALUE, or --env NAME")
		}
		if !ok {
			pass(name)
			continue
		}
		env = append(env, e)
	}
	return env, nil
}

// runSignals are forwarded to the container.
var runSignals = container.Signals()
