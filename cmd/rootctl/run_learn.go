package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/runner"
)

// learnFlags are the flags of run that show what namespaces are for.
type learnFlags struct {
	share     []string
	bare      bool
	printPlan string
	json      *pflag.Flag
}

func (l *learnFlags) register(f *pflag.FlagSet) {
	f.StringArrayVar(&l.share, "share", nil, "do not isolate a `namespace`, to see why it is needed: pid, net, ipc or uts; may be repeated")
	f.BoolVar(&l.bare, "bare", false, "mount no /proc, /sys, /dev and /tmp: mount them yourself inside")
	f.StringVar(&l.printPlan, "print-plan", "", "print what would be done and do nothing: as `lines` (with --json as data), or =shell for a shell to do it")
	f.Lookup("print-plan").NoOptDefVal = "lines"
	if f.Lookup("json") == nil {
		f.Bool("json", false, "print the plan as JSON")
	}
	l.json = f.Lookup("json")
}

// lessons say what a shared namespace lets in.
var lessons = [...][2]string{
	{"pid", "the command sees and may signal the host's processes as far as its ids allow, and is not PID 1"},
	{"net", "the command has the host's network: its interfaces, its listening ports and its abstract sockets"},
	{"ipc", "the command sees the host's System V shared memory, semaphores and message queues"},
	{"uts", "the command has the host's name"},
}

func (l *learnFlags) apply(a *app, s *runner.Spec) error {
	switch l.printPlan {
	case "", "lines", "shell":
	default:
		return withHint(&flagError{fmt.Errorf("unknown form of a plan %q", l.printPlan)}, "--print-plan or --print-plan=shell")
	}
	s.Bare = l.bare
	if l.bare && s.UserNS == "host" {
		return withHint(&flagError{fmt.Errorf("--bare lets the command mount, which is safe in a user namespace of its own only")}, "leave --userns=host away")
	}
	for _, ns := range l.share {
		said := ""
		for _, lesson := range lessons {
			if lesson[0] == ns {
				said = lesson[1]
			}
		}
		if said == "" {
			return withHint(&flagError{fmt.Errorf("unknown namespace %q in --share", ns)}, "pid, net, ipc or uts")
		}
		if ns == "net" {
			s.Net = "host"
		}
		if ns == "uts" {
			name, err := os.Hostname()
			if err != nil {
				return fmt.Errorf("find the host's name: %w", err)
			}
			s.Hostname = name
		}
		s.Share = append(s.Share, ns)
		if ns == "pid" && s.UserNS == "host" {
			a.warnAtStart("--userns=host --share pid: not isolated: root inside can become the user of any process of the host, and by its /proc/PID/root the host's files are within reach")
			continue
		}
		a.warnAtStart("--share %s: not isolated: %s", ns, said)
	}
	return nil
}

// show prints the plan of a run of a leased root.
func (l *learnFlags) show(a *app, store *cache.Store, lease *cache.Lease, s runner.Spec) error {
	s.Lower = []string{lease.Tree}
	if !a.inside.idsOf(&s) && s.UserNS == "own" {
		ids, lock, err := runner.ClaimIDs(idsDir)
		if err != nil {
			return err
		}
		defer lock.Close()
		s.IDs = ids
	}
	if l.printPlan == "shell" {
		text, err := s.Shell(a.inside != nil)
		if err == nil {
			_, err = fmt.Fprint(a.stdout, text)
		}
		return err
	}
	s.Work = store.Dir() + "/tmp/COPY"
	p, err := s.Plan()
	if err != nil {
		return err
	}
	if l.json != nil && l.json.Value.String() == "true" {
		e := json.NewEncoder(a.stdout)
		e.SetIndent("", "  ")
		return e.Encode(struct {
			Spec runner.Spec `json:"spec"`
			Plan runner.Plan `json:"plan"`
		}{s, p})
	}
	for line := range strings.Lines(p.String()) {
		fmt.Fprintln(a.stdout, printable(strings.TrimSuffix(line, "\n")))
	}
	return nil
}
