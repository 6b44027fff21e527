package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/rootctl/rootctl/internal/runner"
)

// repairFlags are the flags of doctor that change the machine.
type repairFlags struct{ fix, undo, yes bool }

func (r *repairFlags) register(f *pflag.FlagSet) {
	f.BoolVar(&r.fix, "fix", false, "change what can be changed, after showing it and asking (root only)")
	f.BoolVar(&r.undo, "undo", false, "take back what --fix has changed (root only)")
	f.BoolVar(&r.yes, "yes", false, "do not ask")
}

func (a *app) repair(flags repairFlags, asJSON bool) error {
	verb := "--fix"
	if flags.undo {
		verb = "--undo"
	}
	switch {
	case flags.fix && flags.undo:
		return withHint(&flagError{errors.New("--fix and --undo are opposites")}, "give one of them")
	case asJSON:
		return withHint(&flagError{fmt.Errorf("%s prints lines only", verb)}, "rootctl doctor --json prints what is missing")
	case os.Geteuid() != 0 || a.inside != nil:
		return withHint(fmt.Errorf("doctor %s changes the machine, which only root may", verb), "sudo rootctl doctor %s", verb)
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find rootctl's own program: %w", err)
	}
	if program, err = filepath.EvalSymlinks(program); err != nil {
		return fmt.Errorf("find rootctl's own program: %w", err)
	}
	r := runner.Repair{Program: program, User: a.getenv("SUDO_USER"), Path: filepath.SplitList(a.getenv("PATH")), Output: a.stderr}
	if r.User == "root" {
		r.User = ""
	}
	if flags.undo {
		return a.undoRepair(r, flags.yes)
	}
	changes, notes, err := r.Plan()
	if err != nil {
		return err
	}
	for _, n := range notes {
		a.warn("%s", n)
	}
	if !a.proposes("this will be done:", "nothing to do", changes) {
		return nil
	}
	if err := a.confirm("do it?", flags.yes); err != nil {
		return err
	}
	if err := r.Apply(changes); err != nil {
		return withHint(fmt.Errorf("doctor --fix: %w", err), "sudo rootctl doctor --undo takes back what was done")
	}
	a.say("done; sudo rootctl doctor --undo takes it back")
	return nil
}

func (a *app) undoRepair(r runner.Repair, yes bool) error {
	changes, err := r.Recorded()
	if err != nil {
		return err
	}
	if !a.proposes("this was done and will be taken back:", "nothing to take back", changes) {
		return nil
	}
	for _, c := range changes {
		if c.User != "" {
			a.say("files that containers of %s made with ids of that range, and %[1]s's cache of roots, can then be removed by root alone", c.User)
			break
		}
	}
	if err := a.confirm("take it back?", yes); err != nil {
		return err
	}
	if err := r.Undo(func(line string) { fmt.Fprintln(a.stdout, printable(line)) }); err != nil {
		return withHint(fmt.Errorf("doctor --undo: %w", err), "what is left is still remembered: call it again once that is mended")
	}
	return nil
}

// proposes prints changes and says whether there are any.
func (a *app) proposes(title, none string, changes []runner.Change) bool {
	if len(changes) == 0 {
		a.say("%s", none)
		return false
	}
	fmt.Fprintln(a.stdout, title)
	for _, c := range changes {
		for line := range strings.Lines(c.String()) {
			fmt.Fprintln(a.stdout, printable("  "+strings.TrimSuffix(line, "\n")))
		}
	}
	return true
}

// confirm asks a person, who says no unless they say yes.
func (a *app) confirm(question string, yes bool) error {
	if yes {
		return nil
	}
	if !term.IsTerminal(int(a.stdin.Fd())) {
		return withHint(&flagError{errors.New("nobody is there to ask: stdin is no terminal")}, "--yes does it without asking")
	}
	fmt.Fprint(a.stderr, question+" [y/N] ")
	answer, err := bufio.NewReader(a.stdin).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		if err == nil {
			return nil
		}
	}
	return withHint(errors.New("not confirmed; nothing was changed"), "answer y, or give --yes")
}
