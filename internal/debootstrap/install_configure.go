package debootstrap

import (
	"context"
	"fmt"
	"path"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/rootctl/rootctl/internal/debootstrap/dpkg"
	"github.com/rootctl/rootctl/internal/debootstrap/unpack"
)

// tempControl is where dpkg has a package's control files while its preinst
// runs; debconf looks there for the owner of templates.
const tempControl = dpkg.AdminDir + "/tmp.ci"

// environment is what maintainer scripts see.
func environment(more ...string) []string {
	return append([]string{
		"DEBIAN_FRONTEND=noninteractive",
		"DEBCONF_NONINTERACTIVE_SEEN=true",
		"HOME=/root",
		"LANG=C",
		"LC_ALL=C",
		// Scripts that write what they keep in a hash write it in one order: xml-core's catalogs.
		"PERL_HASH_SEED=0", "PYTHONHASHSEED=0",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	}, more...)
}

// exec runs a command in the root. what is for errors; tail keeps the end of
// its output.
func (in *installer) exec(ctx context.Context, tail *tail, env []string, argv ...string) (int, error) {
	status, err := in.Exec.Exec(ctx, Command{
		Dir: in.Tree, Argv: argv, Env: env, Output: tail,
		Devfsd: in.lock.Rules.Devfsd, Unverified: in.lock.Unverified() || in.Unvouched,
	})
	if err != nil {
		return 0, fmt.Errorf("run %s in the root: %w", path.Base(argv[0]), err)
	}
	return status, ctx.Err()
}

// configureAll runs the scripts of the first stage, which is unpacked, then
// unpacks and configures the others.
func (in *installer) configureAll(ctx context.Context, stages [][]string) error {
	if in.t.Exists("/sbin/ldconfig") {
		tail := newTail(in.Log, nil)
		status, err := in.exec(ctx, tail, environment(), "/sbin/ldconfig")
		if err != nil {
			return err
		}
		if status != 0 {
			return &ConfigureError{Script: "ldconfig", Status: status, LastLines: tail.lines()}
		}
	}
	if err := in.hooks(ctx, HookSetup); err != nil {
		return err
	}
	for i, names := range stages {
		later := i > 0 || in.Base != nil
		if err := in.preinsts(ctx, names, later); err != nil {
			return err
		}
		if later {
			if err := in.laterStage(ctx, names); err != nil {
				return err
			}
		}
		if i == 0 && in.Unpacked != nil {
			in.Unpacked()
		}
		if err := in.configure(ctx, !later && len(stages) > 1); err != nil {
			return err
		}
		if later {
			continue
		}
		if err := in.hooks(ctx, HookEssential); err != nil {
			return err
		}
	}
	if err := in.checkInstalled(); err != nil {
		return err
	}
	if err := in.addFiles(); err != nil {
		return fmt.Errorf("add files: %w", err)
	}
	return in.hooks(ctx, HookCustomize)
}

// preinsts runs the preinsts of a stage that do anything.
func (in *installer) preinsts(ctx context.Context, names []string, wait bool) error {
	if wait {
		g, ctx := errgroup.WithContext(ctx)
		for _, n := range names {
			g.Go(func() error { return in.open(ctx, in.pkgs[n]) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	for _, n := range dpkg.PreinstOrder(names) {
		p := in.pkgs[n]
		script, ok := p.db.Member("preinst")
		if !ok || dpkg.IsNoop(script) {
			continue
		}
		in.event(StagePrepare, n, 0, 0)
		if err := in.preinst(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

func (in *installer) preinst(ctx context.Context, p *pkg) error {
	if err := in.t.MkdirAll(tempControl, unpack.Meta{Mode: 0o755}); err != nil {
		return err
	}
	defer in.t.RemoveAll(tempControl)
	for _, m := range p.db.Members {
		if err := in.t.WriteFile(tempControl+"/"+m.Name, m.Data, unpack.Meta{Mode: m.Mode & 0o777}); err != nil {
			return err
		}
	}
	tail := newTail(in.Log, nil)
	env := environment(p.db.ScriptEnv("preinst")...)
	status, err := in.exec(ctx, tail, env, tempControl+"/preinst", "install")
	if err != nil {
		return err
	}
	if status != 0 {
		return &ConfigureError{Package: p.Name, Script: "preinst", Status: status, LastLines: tail.lines()}
	}
	return in.t.RemoveAll(tempControl)
}

// configure has dpkg configure what is unpacked. In the first of several
// stages packages whose dependencies come later are configured all the same.
func (in *installer) configure(ctx context.Context, first bool) error {
	options := []string{"/usr/bin/dpkg", "--configure", "--force-unsafe-io", "--force-confold"}
	if !first {
		return in.dpkg(ctx, append(options, "-a"))
	}
	options = append(options, "--force-depends")
	for _, n := range []string{basePasswd, baseFiles} {
		if in.pkgs[n] == nil {
			continue
		}
		if err := in.dpkg(ctx, append(slices.Clone(options), n)); err != nil {
			return err
		}
	}
	return in.dpkg(ctx, append(options, "--force-configure-any", "-a"))
}

func (in *installer) dpkg(ctx context.Context, argv []string) error {
	tail := newTail(in.Log, in.settingUp)
	status, err := in.exec(ctx, tail, environment(), argv...)
	if err != nil {
		return err
	}
	if status == 0 {
		return nil
	}
	return dpkgFailure(status, tail.lines())
}

// settingUp is told each line of dpkg's output.
func (in *installer) settingUp(line string) {
	name, ok := settingUpName(line)
	if !ok || in.started[name] || in.pkgs[name] == nil {
		return
	}
	in.started[name] = true
	in.event(StageConfigure, name, int64(len(in.started)), int64(len(in.pkgs)))
}

// checkInstalled trusts no exit status: every package must say it is installed.
func (in *installer) checkInstalled() error {
	bad, installed, err := in.db.Unfinished()
	if err != nil {
		return err
	}
	if len(bad) > 0 {
		e := &ConfigureError{Package: bad[0].Package}
		for _, s := range bad {
			e.LastLines = append(e.LastLines, s.Package+": "+s.Status)
		}
		return e
	}
	if want := in.before + len(in.pkgs); installed != want {
		return fmt.Errorf("dpkg's status file has %d installed packages, not %d", installed, want)
	}
	return nil
}
