package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/rootctl/rootctl/internal/container"
	"github.com/rootctl/rootctl/internal/runner"
)

// execFlags are the flags of exec.
type execFlags struct {
	user     string
	tty      bool
	workdir  string
	env      []string
	envFiles []string
}

func newExecCommand(a *app) *cobra.Command {
	var fl execFlags
	c := &cobra.Command{
		Use:   "exec [flags] CONTAINER [--] COMMAND [ARG...]",
		Short: "run a further command in a running container",
		Long: "exec joins the namespaces of a running container, named by its name, its ID or the beginning of its ID. The\n" +
			"command has the rights that the container's own has, and ends with it, or with rootctl. Flags end at CONTAINER.",
		Example: "  rootctl exec web bash\n  rootctl exec --user www-data --workdir /srv web -- ls -la",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, given []string) error {
			a.verbIsRun = true
			name, argv := given[0], given[1:]
			if len(argv) > 0 && argv[0] == "--" {
				argv = argv[1:]
			}
			if len(argv) == 0 {
				return withHint(&flagError{fmt.Errorf("exec %s: no command", name)}, "rootctl exec %s sh", name)
			}
			return a.execIn(c.Context(), &fl, name, argv)
		},
	}
	f := c.Flags()
	f.SetInterspersed(false)
	f.StringVar(&fl.user, "user", "", "run the command as another user inside: `NAME|UID[:GROUP|GID]`")
	f.BoolVarP(&fl.tty, "tty", "t", false, "give the command a terminal where stdin or stdout is none, too")
	f.StringVar(&fl.workdir, "workdir", "", "`folder` inside to start in (default that of run)")
	f.StringArrayVar(&fl.env, "env", nil, "set a variable inside: `NAME=VALUE`, or NAME to pass the current value; may be repeated")
	registerEnvFile(f, &fl.envFiles)
	return c
}

// sealExec keeps rootctl's own file from a container in which its owner is root. Where there may be no mounts, for an
// ordinary user, a copy in memory has to do.
func (a *app) sealExec(s *runner.Spec) error {
	switch {
	case a.unsealed:
	case s.Nested:
		return reexecSealed(os.Args)
	case s.UserNS == "host":
		return seal(s.UserNS)
	}
	return nil
}

// execIn runs a command in a running container and sets the exit code.
func (a *app) execIn(ctx context.Context, fl *execFlags, name string, argv []string) error {
	if fl.workdir != "" && !filepath.IsAbs(fl.workdir) {
		return withHint(&flagError{fmt.Errorf("--workdir %s is not an absolute path", fl.workdir)}, "give a path inside, like /src")
	}
	_, target, err := a.joinable(ctx, "exec", name)
	if err != nil {
		return err
	}
	if target.Spec.ChrootOf() != "" {
		return withHint(fmt.Errorf("exec %s: a container isolated by chroot alone has no namespaces to join", name), "rootctl run --isolation=chroot starts another")
	}
	if err := a.sealExec(&target.Spec); err != nil {
		return fmt.Errorf("exec %s: %w", name, err)
	}
	cmd := runner.Command{Argv: argv, Workdir: fl.workdir,
		TTY: fl.tty || term.IsTerminal(int(a.stdin.Fd())) && term.IsTerminal(int(a.stdout.Fd()))}
	env, err := readEnvFiles(fl.envFiles)
	if err != nil {
		return err
	}
	if cmd.Env, err = a.innerEnv(append(env, fl.env...), cmd.TTY, target.Spec.Net == "host"); err != nil {
		return err
	}
	if fl.user != "" {
		account, err := runner.FindAccount(fmt.Sprintf("/proc/%d/root", target.PID), fl.user)
		if err != nil {
			return fmt.Errorf("exec %s: %w", name, err)
		}
		cmd.User, cmd.Env = &account.Identity, envOf(cmd.Env, account)
	} else if target.Spec.User != nil {
		cmd.User = target.Spec.User
	}
	signals := make(chan os.Signal, 8)
	a.signals.Notify(signals, runSignals...)
	defer a.signals.Stop(signals)
	status, err := runner.Exec(context.WithoutCancel(ctx), *target, cmd, runner.Options{Stdin: a.stdin, Stdout: a.stdout, Stderr: a.stderr,
		Signals: signals, WatchNet: true, Log: a.log()})
	if err != nil {
		err = fmt.Errorf("exec %s: %w", name, err)
		var command *runner.CommandError
		if errors.As(err, &command) {
			return &commandFailed{err, status.Code}
		}
		return err
	}
	if status.OverMemory {
		a.sayOverMemory(target.Spec.Limits, status.Code)
	} else if status.Outside && status.Signal == int(unix.SIGKILL) {
		fmt.Fprintln(a.stderr, container.KilledWith)
	}
	if status.TriedNet {
		fmt.Fprintln(a.stderr, container.TriedNet+container.AddNetToRun)
	}
	a.exit = status.Code
	return nil
}
