package debootstrap

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/debootstrap/unpack"
)

// hookFile is where a hook's script lies while it runs; /run is emptied at the end.
const hookFile = "/run/rootctl-hook"

// StageHooks is the stage of the user's scripts.
const StageHooks = "hooks"

// A Resolver is an Executor that knows what resolv.conf a command with a network needs.
type Resolver interface {
	ResolvConf(network string) []byte
}

// hooks runs those of a moment, in their order.
func (in *installer) hooks(ctx context.Context, when string) error {
	ready := false
	for i, h := range in.lock.Hooks {
		if h.When != when {
			continue
		}
		if !ready && when != HookSetup {
			if err := in.writeFiles(); err != nil { // apt's list of sources, as the root will have it
				return err
			}
		}
		ready = true
		in.event(StageHooks, h.Name, int64(i), int64(len(in.lock.Hooks)))
		if err := in.hook(ctx, &h); err != nil {
			return err
		}
		in.event(StageHooks, h.Name, int64(i+1), int64(len(in.lock.Hooks)))
	}
	return nil
}

func (in *installer) hook(ctx context.Context, h *Hook) (err error) {
	if err := in.t.WriteFile(hookFile, h.Script, unpack.Meta{Mode: 0o755}); err != nil {
		return err
	}
	u := &undoing{}
	u.add(func() error { return in.t.RemoveAll(hookFile) })
	defer func() {
		if e := u.run(); e != nil && err == nil {
			err = fmt.Errorf("undo preparations of hook %s: %w", h.Name, e)
		}
	}()
	if h.Network != "none" {
		if err := in.prepareNet(u, h.Network); err != nil {
			return fmt.Errorf("prepare the network of hook %s: %w", h.Name, err)
		}
	}
	tail := newTail(in.Log, nil)
	status, err := in.Exec.Exec(ctx, Command{
		Dir: in.Tree, Argv: []string{hookFile}, Env: hookEnv(h.Env), Output: tail, Network: h.Network,
		Devfsd: in.lock.Rules.Devfsd, Unverified: in.lock.Unverified() || in.Unvouched,
	})
	if err != nil {
		return fmt.Errorf("run hook %s: %w", h.Name, err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if status != 0 {
		return &HookError{Hook: h.Name, When: h.When, Network: h.Network, ConfigureError: ConfigureError{Status: status, LastLines: tail.lines()}}
	}
	return nil
}

// undoFailed says who has most likely taken away what is to be put back.
func (in *installer) undoFailed(err error) error {
	if len(in.lock.Hooks) > 0 && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)) {
		return &hookedAway{err}
	}
	return fmt.Errorf("undo preparations: %w", err)
}

// hookedAway is a root that a hook has left without folders that every root has.
type hookedAway struct{ err error }

func (e *hookedAway) Error() string {
	return "the hooks have left a root that cannot be finished: " + strings.ReplaceAll(e.err.Error(), "\n", "; ")
}

func (e *hookedAway) Unwrap() error { return e.err }

// Hint says what to look for.
func (e *hookedAway) Hint() string {
	return "look for a hook that removes or replaces the root's own folders (rm -r /usr, for example): docs/recipes.md"
}

// hookEnv is what a hook sees: what maintainer scripts do, and its own variables, of which the last one counts.
func hookEnv(own []string) []string {
	set := map[string]bool{}
	for _, e := range own {
		name, _, _ := strings.Cut(e, "=")
		set[name] = true
	}
	var env []string
	for _, e := range environment() {
		if name, _, _ := strings.Cut(e, "="); !set[name] {
			env = append(env, e)
		}
	}
	return append(env, own...)
}

// prepareNet has look-ups work while a hook runs. A resolv.conf that is a link into /run, as systemd-resolved's, gets its
// target there; anything else in its place steps aside.
func (in *installer) prepareNet(u *undoing, network string) error {
	r, ok := in.Exec.(Resolver)
	if !ok {
		return nil
	}
	const name, aside = "/etc/resolv.conf", "/etc/resolv.conf.rootctl"
	if in.Owners != nil && in.t.IsDir("/etc/apt/apt.conf.d") { // apt would become a user that is not there
		const conf = "/etc/apt/apt.conf.d/99rootctl-single-id"
		if err := in.t.WriteFile(conf, []byte("APT::Sandbox::User \"root\";\n"), unpack.Meta{Mode: 0o644}); err != nil {
			return err
		}
		u.add(func() error { return in.t.Remove(conf) })
	}
	if _, err := in.t.Lstat(name); err == nil {
		if err := in.t.Rename(name, aside); err != nil {
			return err
		}
		u.add(func() error { return in.t.Rename(aside, name) })
	}
	u.add(func() error { return in.t.RemoveAll(name) })
	return in.t.WriteFile(name, r.ResolvConf(network), unpack.Meta{Mode: 0o644})
}

// addFiles writes the user's files, with owners by the root's own names.
func (in *installer) addFiles() error {
	if len(in.lock.Added) == 0 {
		return nil
	}
	ids, err := in.readIDs()
	if err != nil {
		return err
	}
	for _, f := range in.lock.Added {
		m := unpack.Meta{Mode: f.Mode}
		user, group, _ := strings.Cut(f.Owner, ":")
		if m.UID, err = idOf(user, ids.Users); err == nil {
			m.GID, err = idOf(group, ids.Groups)
		}
		if err != nil {
			return &UsageError{What: fmt.Sprintf("file %s: owner %s: %v", f.Path, f.Owner, err), Next: "name a user and group that the root's packages make, or numbers"}
		}
		if st, err := in.t.Lstat(f.Path); err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return &UsageError{What: fmt.Sprintf("file %s: there is a folder in the root", f.Path), Next: "choose another path"}
		}
		if err := in.t.MkdirAll(path.Dir(f.Path), unpack.Meta{Mode: 0o755}); err != nil {
			return fmt.Errorf("file %s: %w", f.Path, err)
		}
		if err := in.t.WriteFile(f.Path, f.Content, m); err != nil {
			return fmt.Errorf("file %s: %w", f.Path, err)
		}
	}
	return nil
}

// idOf is a number, or the id of a name; "" is root's.
func idOf(name string, known map[string]int) (int, error) {
	if name == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(n), nil
	}
	if id, ok := known[name]; ok {
		return id, nil
	}
	return 0, fmt.Errorf("the root has no %q", name)
}

// readIDs reads the root's users and groups.
func (in *installer) readIDs() (*unpack.IDs, error) {
	ids := &unpack.IDs{}
	for _, f := range []struct {
		name string
		to   *map[string]int
	}{{"/etc/passwd", &ids.Users}, {"/etc/group", &ids.Groups}} {
		b, err := in.t.ReadFile(f.name, maxMaster)
		if err != nil {
			return nil, err
		}
		if *f.to, err = unpack.ParseIDs(b); err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return ids, nil
}

// HookError is a script of the user's that failed.
type HookError struct {
	Hook, When, Network string
	ConfigureError
}

func (e *HookError) Error() string {
	if e.Status > 128 {
		return fmt.Sprintf("hook %s (%s) ended by signal %d", e.Hook, e.When, e.Status-128)
	}
	return fmt.Sprintf("hook %s (%s) ended with exit status %d", e.Hook, e.When, e.Status)
}

// Unwrap leads to the output.
func (e *HookError) Unwrap() error { return &e.ConfigureError }

// Hint names what hooks fail of most.
func (e *HookError) Hint() string {
	if next := e.ConfigureError.Hint(); next != "" {
		return next
	}
	if e.Network == "none" && slicesContainAny(e.LastLines, "resolve", "Network is unreachable", "name resolution", "Resolving") {
		return `it has no network unless the hook says network = "nat", see docs/recipes.md`
	}
	return "it runs in the root by the first line of its text, as root, with the variables of its env: docs/recipes.md"
}

func slicesContainAny(lines []string, words ...string) bool {
	for _, l := range lines {
		for _, w := range words {
			if strings.Contains(l, w) {
				return true
			}
		}
	}
	return false
}
