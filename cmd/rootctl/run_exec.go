package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/runner"
)

// commandFlags say as whom and in what surroundings the command runs.
type commandFlags struct {
	user     string
	tty      bool
	init     bool
	envFiles []string
	hostname string
}

func (c *commandFlags) register(f *pflag.FlagSet) {
	f.StringVar(&c.user, "user", "", "run the command as another user inside: `NAME|UID[:GROUP|GID]`")
	f.BoolVarP(&c.tty, "tty", "t", false, "give the command a terminal where stdin or stdout is none, too; with -d its output is in the log")
	f.BoolVar(&c.init, "init", false, "put a small reaper before the command as PID 1: it passes signals on and reaps orphans")
	registerEnvFile(f, &c.envFiles)
	f.StringVar(&c.hostname, "hostname", "rootctl", "host `name` inside")
}

func registerEnvFile(f *pflag.FlagSet, files *[]string) {
	f.StringArrayVar(files, "env-file", nil, "set variables from a `file` of lines NAME=VALUE, NAME or # comment; may be repeated")
}

func (c *commandFlags) apply(s *runner.Spec) error {
	s.Init, s.Hostname = c.init, c.hostname
	if c.hostname == "" || len(c.hostname) > 64 || strings.Trim(c.hostname, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.") != "" || c.hostname[0] == '-' || c.hostname[0] == '.' {
		return withHint(&flagError{fmt.Errorf("--hostname %q is no host name", c.hostname)}, "at most 64 letters, digits, dots and dashes")
	}
	return nil
}

// become makes the command run as the user of --user, whom the root at a folder knows.
func (c *commandFlags) become(s *runner.Spec, tree string) error {
	if c.user == "" {
		return nil
	}
	account, err := runner.FindAccount(tree, c.user)
	if err != nil {
		return err
	}
	s.User = &account.Identity
	s.Env = envOf(s.Env, account)
	return nil
}

// envOf puts an account in the place of root in an environment that begins with innerEnv's own words. What --env
// says comes later there and so stays.
func envOf(env []string, account runner.Account) []string {
	name := account.Name
	if name == "" {
		name = fmt.Sprint(account.UID)
	}
	env = append([]string{}, env...)
	for i, e := range env {
		switch e {
		case "HOME=/root":
			env[i] = "HOME=" + account.Home
		case "USER=root":
			env[i] = "USER=" + name
		case "LOGNAME=root":
			env[i] = "LOGNAME=" + name
			return env
		}
	}
	return env
}

// maxEnvFile bounds a file of --env-file; the kernel takes no more for a whole command.
const maxEnvFile = 2 << 20

// readEnvFiles gives the arguments of --env that the files stand for, as docker reads them: no quotes, no escapes.
func readEnvFiles(names []string) ([]string, error) {
	var env []string
	for _, name := range names {
		f, err := os.OpenFile(name, os.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, withHint(&notFound{fmt.Errorf("--env-file: %w", err)}, "check the path")
		}
		list, err := parseEnv(f, name)
		f.Close()
		if err != nil {
			return nil, err
		}
		env = append(env, list...)
	}
	return env, nil
}

func parseEnv(r io.Reader, name string) ([]string, error) {
	var env []string
	limited := &io.LimitedReader{R: r, N: maxEnvFile + 1}
	sc := bufio.NewScanner(limited)
	sc.Buffer(nil, maxEnvFile)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimLeft(strings.TrimPrefix(sc.Text(), "\ufeff"), " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		variable, _, _ := strings.Cut(line, "=")
		if variable == "" || strings.ContainsAny(variable, " \t\x00") || strings.ContainsRune(line, 0) {
			return nil, withHint(&flagError{fmt.Errorf("--env-file %s: line %d names no variable", name, n)}, "write NAME=VALUE, NAME to pass the current value, or # for a comment")
		}
		env = append(env, line)
	}
	if err := sc.Err(); err != nil || limited.N == 0 {
		return nil, withHint(&flagError{fmt.Errorf("--env-file %s: it cannot be read, or is larger than 2 MiB", name)}, "give a small text file")
	}
	return env, nil
}
