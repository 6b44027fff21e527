package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rootctl/rootctl/suites"
)

// flagError is a command line that cannot be understood.
type flagError struct{ error }

func (e *flagError) Unwrap() error { return e.error }

// args wraps a cobra argument check: what it refuses is said in our words, with the verb's usage and its
// first example.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, given []string) error {
		err := check(c, given)
		if said := (*flagError)(nil); err == nil || errors.As(err, &said) {
			return err
		}
		if c.HasAvailableSubCommands() && len(given) > 0 {
			return noVerb(c, given[0])
		}
		hint := "usage: " + c.UseLine()
		example, _, _ := strings.Cut(strings.TrimSpace(c.Example), "\n")
		if example, _, _ = strings.Cut(example, "  #"); example != "" {
			hint += ", for example " + strings.TrimSpace(example)
		}
		return withHint(&flagError{errors.New(wrongCount(c, given))}, "%s", hint)
	}
}

// wrongCount says which argument of a verb's usage line is missing or too many.
func wrongCount(c *cobra.Command, given []string) string {
	verb := strings.TrimPrefix(c.CommandPath(), c.Root().Name()+" ")
	var wanted []string
	for _, word := range strings.Fields(c.Use)[1:] {
		if word == "|" { // what follows is another way to use the verb
			break
		}
		if word, _, _ = strings.Cut(word, "["); word != "" && word[0] >= 'A' && word[0] <= 'Z' {
			wanted = append(wanted, word)
		}
	}
	if missing := wanted[min(len(given), len(wanted)):]; len(missing) > 0 {
		are := "is"
		if len(missing) > 1 {
			are = "are"
		}
		return fmt.Sprintf("%s: %s %s missing", verb, strings.Join(missing, " and "), are)
	}
	if len(given) <= len(wanted) { // the usage line begins with words to choose from, or has ways without any
		return verb + ": an argument is missing"
	}
	extra := fmt.Sprintf("%q", given[len(wanted):])
	if len(wanted) == 0 {
		return fmt.Sprintf("%s takes no argument, not %s", verb, strings.Trim(extra, "[]"))
	}
	return fmt.Sprintf("%s takes one %s, not also %s", verb, strings.Join(wanted, " and "), strings.Trim(extra, "[]"))
}

// badFlag is what cobra calls for a flag that it could not read: a misspelt one is answered with near names.
func badFlag(c *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	hint := fmt.Sprintf("see %s --help", c.CommandPath())
	if errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "" {
		var known []string
		add := func(f *pflag.Flag) { known = append(known, f.Name) }
		c.Flags().VisitAll(add)
		c.InheritedFlags().VisitAll(add)
		name := unknown.GetSpecifiedName()
		if near := suites.Near(name, known); len(near) > 0 {
			hint = fmt.Sprintf("did you mean --%s? %s", strings.Join(near, " or --"), hint)
		}
	}
	return withHint(&flagError{err}, "%s", hint)
}

// otherWord is the verb that does here what a verb of other tools does there, "" if none is known.
func otherWord(verb string) string {
	switch verb {
	case "rm", "rmi", "remove", "delete", "del", "destroy", "purge":
		return "untag"
	case "images", "list", "dir", "ps":
		return "ls"
	case "pull", "fetch", "create", "make", "bootstrap", "debootstrap", "update", "upgrade":
		return "build"
	case "inspect", "info", "describe":
		return "show"
	case "exec", "shell", "enter", "login", "chroot", "start":
		return "run"
	case "name", "rename", "mv", "alias":
		return "tag"
	case "clean", "prune":
		return "cache gc"
	case "du", "size":
		return "cache df"
	case "fsck", "check":
		return "cache verify"
	case "save":
		return "export"
	case "load":
		return "import"
	}
	return ""
}

// plainUsage puts the errors that cobra has no type for into our words.
func plainUsage(root *cobra.Command, err error) error {
	var name, path string
	if n, _ := fmt.Sscanf(err.Error(), "unknown command %q for %q", &name, &path); n != 2 {
		return err
	}
	return noVerb(root, name)
}

// noVerb is the error for a verb, or one of a parent's, that does not exist.
func noVerb(parent *cobra.Command, name string) error {
	root := parent.Root()
	var meant []string
	for _, path := range []string{otherWord(name), verbBelow(root, name)} {
		if path != "" && hasVerb(root, path) {
			meant = append(meant, root.Name()+" "+path)
		}
	}
	if len(meant) == 0 {
		for _, near := range suites.Near(name, verbsOf(parent)) {
			meant = append(meant, parent.CommandPath()+" "+near)
		}
	}
	hint := fmt.Sprintf("%s --help lists the verbs", parent.CommandPath())
	switch {
	case len(meant) == 1 && meant[0] == "rootctl untag":
		hint = "rootctl untag NAME takes a name away"
		if hasVerb(root, "cache gc") {
			hint += "; rootctl cache gc frees what no name needs"
		}
	case len(meant) > 0:
		hint = fmt.Sprintf("did you mean %s? %s", strings.Join(meant, " or "), hint)
	}
	called := strings.TrimSpace(strings.TrimPrefix(parent.CommandPath(), root.Name()) + " " + name)
	return withHint(&flagError{fmt.Errorf("there is no verb %q", called)}, "%s", hint)
}

// hasVerb reports whether a path like "cache gc" leads to a verb.
func hasVerb(root *cobra.Command, path string) bool {
	c, _, err := root.Find(strings.Fields(path))
	return err == nil && c.CommandPath() == root.Name()+" "+path
}

func verbsOf(parent *cobra.Command) (names []string) {
	for _, c := range parent.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return names
}

// verbBelow finds a verb of that name under another one: "cache gc" for gc.
func verbBelow(root *cobra.Command, name string) string {
	for _, parent := range root.Commands() {
		for _, c := range parent.Commands() {
			if c.Name() == name {
				return parent.Name() + " " + name
			}
		}
	}
	return ""
}
