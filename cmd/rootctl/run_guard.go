package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/rootctl/rootctl/internal/runner"
)

// guardFlags say what the command may do to the kernel.
type guardFlags struct {
	capAdd, capDrop []string
	privileged      bool
	seccomp         string
}

func (g *guardFlags) register(f *pflag.FlagSet) {
	f.StringSliceVar(&g.capAdd, "cap-add", nil, "a `capability` more, as CAP_NET_ADMIN or NET_ADMIN, or ALL; may be repeated")
	f.StringSliceVar(&g.capDrop, "cap-drop", nil, "a `capability` less, or ALL; --cap-add counts after it")
	f.BoolVar(&g.privileged, "privileged", false, "every capability, within the user namespace, and no system call filter")
	f.StringVar(&g.seccomp, "seccomp", "default", "system call `filter`: default or none")
}

func (g *guardFlags) apply(s *runner.Spec) error {
	if g.seccomp != "default" && g.seccomp != "none" {
		return withHint(&flagError{fmt.Errorf("unknown system call filter %q", g.seccomp)}, "--seccomp=default or --seccomp=none")
	}
	if g.seccomp != "default" {
		s.Seccomp = g.seccomp
	}
	if g.privileged {
		if s.UserNS == "host" {
			return withHint(&flagError{fmt.Errorf("--privileged with --userns=host would be the host's root")},
				"leave --userns=host out; inside its own user namespace the command may have every capability")
		}
		s.Seccomp = "none"
	}
	if !g.privileged && len(g.capAdd)+len(g.capDrop) == 0 {
		return nil
	}
	var err error
	s.Caps, err = g.caps()
	return err
}

// caps are the default ones, or all, less the dropped ones, with the added ones.
func (g *guardFlags) caps() ([]string, error) {
	caps := runner.DefaultCaps()
	if g.privileged {
		caps = runner.AllCaps()
	}
	named := func(flag, given string) ([]string, error) {
		name := strings.ToUpper(given)
		if name == "ALL" {
			return runner.AllCaps(), nil
		}
		if !strings.HasPrefix(name, "CAP_") {
			name = "CAP_" + name
		}
		if !slices.Contains(runner.AllCaps(), name) {
			return nil, withHint(&flagError{fmt.Errorf("%s %s: unknown capability", flag, given)}, "use a name of capabilities(7), such as NET_ADMIN, or ALL")
		}
		return []string{name}, nil
	}
	for _, d := range g.capDrop {
		out, err := named("--cap-drop", d)
		if err != nil {
			return nil, err
		}
		caps = slices.DeleteFunc(caps, func(c string) bool { return slices.Contains(out, c) })
	}
	for _, d := range g.capAdd {
		in, err := named("--cap-add", d)
		if err != nil {
			return nil, err
		}
		caps = append(caps, in...)
	}
	slices.Sort(caps)
	return append([]string{}, slices.Compact(caps)...), nil // not nil, which would mean the default
}
