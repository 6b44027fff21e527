package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/nat"
	"github.com/rootctl/rootctl/internal/runner"
)

func newDoctorCommand(a *app) *cobra.Command {
	var asJSON bool
	var fix repairFlags
	c := &cobra.Command{
		Use:   "doctor",
		Short: "find out by trying what run and build can do here, and how to get the rest",
		Long: "doctor tries in throw-away processes what containers need of this machine and prints a line each: ok, no\n" +
			"(run or build does not work) or - (something stands in, or one flag does not work), with what helps.\n" +
			"The exit code is 0 if run and build work, else 1. Nothing is changed.\n\n" +
			"With --fix it changes what ordinary users need: a profile of AppArmor where that forbids user namespaces, the package\n" +
			"uidmap, and a range of ids for the user who called sudo. It shows what it will do and asks; --undo takes it back.",
		Example: "  rootctl doctor\n  rootctl doctor --json\n  sudo rootctl doctor --fix\n  sudo rootctl doctor --undo",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			switch {
			case fix.fix || fix.undo:
				return a.repair(fix, asJSON)
			case fix.yes:
				return withHint(&flagError{errors.New("--yes answers what --fix and --undo ask")}, "sudo rootctl doctor --fix --yes")
			}
			return a.doctor(asJSON)
		},
	}
	fix.register(c.Flags())
	c.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	return c
}

func (a *app) doctor(asJSON bool) error {
	dir, err := a.cachePath()
	if err != nil {
		return err
	}
	check := runner.Checkup{Cache: dir, Path: filepath.SplitList(a.getenv("PATH"))}
	if os.Geteuid() != 0 || !runner.Capable("SYS_ADMIN") {
		if check.User, err = a.userMap(); err != nil {
			return err
		}
	}
	found := append(check.Findings(), userNetwork(check.Path)...)
	works := true
	for _, f := range found {
		works = works && (f.OK || !f.Needed)
	}
	if !works {
		a.exit = codeFailed
	}
	if asJSON {
		e := json.NewEncoder(a.stdout)
		e.SetIndent("", "  ")
		return e.Encode(struct {
			Works    bool             `json:"works"`
			Findings []runner.Finding `json:"findings"`
		}{works, found})
	}
	repairable := false
	for _, f := range found {
		repairable = repairable || f.Repairable
		mark := "ok"
		switch {
		case f.OK:
		case f.Needed:
			mark = "no"
		default:
			mark = "-"
		}
		line := fmt.Sprintf("%-3s %s", mark, f.Probe)
		if f.Found != "" {
			line += ": " + f.Found
		}
		fmt.Fprintln(a.stdout, printable(line))
		if f.Fix != "" {
			fmt.Fprintln(a.stdout, printable("    fix: "+f.Fix))
		}
		for _, line := range f.Lines {
			fmt.Fprintln(a.stdout, "      "+printable(line))
		}
	}
	if repairable {
		fmt.Fprintln(a.stdout, "sudo rootctl doctor --fix does what can be done of that, after showing it and asking; --undo takes it back")
	}
	return nil
}

// userNetwork looks for what --net=nat of an ordinary user needs, as that does.
func userNetwork(path []string) []runner.Finding {
	finding := func(probe, found string, err error) runner.Finding {
		f := runner.Finding{Probe: probe + ", for --net=nat without root", OK: err == nil, Found: found}
		if err != nil {
			f.Found, f.Fix = err.Error(), hintOf(err)
		}
		return f
	}
	program, err := nat.UserProgram(path)
	list := []runner.Finding{finding("pasta or slirp4netns", program, err)}
	if err != nil {
		program = "pasta"
	}
	return append(list, finding("/dev/net/tun", "", nat.CheckTun(program)))
}
