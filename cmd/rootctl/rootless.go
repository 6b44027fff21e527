package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/container"
	"github.com/rootctl/rootctl/internal/runner"
)

// inside is set in the second process.
type inside struct {
	ids uint32
}

// single says that there is no id inside but 0.
func (i *inside) single() bool { return i != nil && i.ids == 1 }

// insideOf tells the second process of runner.Enter by its arguments.
func insideOf(args []string) (*inside, []string) {
	if len(args) == 0 {
		return nil, nil
	}
	n := container.InsideIDs(args[0])
	if n == 0 {
		return nil, nil
	}
	return &inside{n}, args[1:]
}

// newOwners is where a build keeps owners: nil if the disk takes them.
func (a *app) newOwners() *cache.Owners {
	if a.inside.single() {
		return &cache.Owners{}
	}
	return nil
}

// fitOwners makes a root usable that was built with other ids than there are now, or copied without its owners.
func (a *app) fitOwners(l *cache.Lease) error {
	if os.Geteuid() != 0 {
		return nil
	}
	fit, err := l.Fit(a.inside.single())
	if err == nil && fit == cache.FitLost {
		err = l.Restore(a.inside.single())
	}
	if errors.Is(err, cache.ErrReadOnly) { // a baked image: most commands mind neither
		a.warn("the cache was copied without owners or modes of root %s and is read-only: it is used as it is", l.Root.Short())
		return nil
	}
	if fit == cache.FitForeign || errors.Is(err, unix.EPERM) && a.inside != nil {
		return withHint(fmt.Errorf("root %s was built with id ranges that you no longer have", l.Root.Short()),
			"rootctl build makes it anew for the ids that you have; or have the old ranges back (/etc/subuid, /etc/subgid, newuidmap)")
	}
	return err
}

// rootsCache is root's default cache.
const rootsCache = container.RootsCache

// noteOtherCache tells of the cache of root, or of the user behind sudo, before a root is built that may be there.
func (a *app) noteOtherCache(name string) {
	var behind *user.User
	if a.inside == nil {
		behind, _ = user.LookupId(a.getenv("SUDO_UID")) // nil if nobody is
	}
	if note := otherCache(name, rootsCache, a.inside != nil, behind); note != "" {
		a.say("note: %s", note)
	}
}

// otherCache says which other cache may have a root. A user cannot look into root's.
func otherCache(name, roots string, ordinary bool, behind *user.User) string {
	if ordinary {
		if _, err := os.Lstat(roots); err == nil {
			return fmt.Sprintf("the cache of root, %s, cannot be read by you: building %s for you", roots, name)
		}
		return ""
	}
	if behind == nil || behind.Uid == "0" {
		return ""
	}
	theirs := filepath.Join(behind.HomeDir, ".cache", "rootctl")
	if _, err := os.Lstat(filepath.Join(theirs, "refs", name)); err != nil {
		return ""
	}
	return fmt.Sprintf("the cache of user %s, %s, has %s and root's has not: building it for root; without sudo it is there", behind.Username, theirs, name)
}

// idsOf gives a container the ids of this namespace. It reports false outside of one: there a block is claimed.
func (i *inside) idsOf(spec *runner.Spec) bool {
	if i == nil {
		return false
	}
	spec.Nested, spec.IDs = true, runner.IDRange{Size: i.ids}
	return true
}

// enter does the verb in a user namespace if an ordinary user called it; done says that this was all of it and that
// a.exit is set.
func (a *app) enter() (done bool, err error) {
	if os.Geteuid() == 0 || a.inside != nil {
		return false, nil
	}
	return a.enterAs(true)
}

// enterAgain is enter for verbs on what is there already, whose owners were told of when it was made.
func (a *app) enterAgain() (done bool, err error) {
	if os.Geteuid() == 0 || a.inside != nil {
		return false, nil
	}
	return a.enterAs(false)
}

// enterToMount is enter for verbs that mount: root, too, may have the right to that in a user namespace only.
func (a *app) enterToMount() (done bool, err error) {
	if a.inside != nil || os.Geteuid() == 0 && (a.chroot || runner.Capable("SYS_ADMIN")) {
		return false, nil
	}
	return a.enterAs(true)
}

// enterAs tells of owners that cannot be had, if that is wanted.
func (a *app) enterAs(tell bool) (done bool, err error) {
	m, err := a.userMap()
	if err != nil {
		return false, err
	}
	// The other process dies with the thread that made it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// Before it starts: whatever arrives from now on is its business.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, runSignals...)
	env := os.Environ()
	if dir, err := a.cachePath(); err == nil { // inside, the user is another and so would be the folder
		env = append(env, "ROOTCTL_CACHE="+dir)
	}
	env = append(env, "ROOTCTL_STATE="+a.stateDir())
	in, err := runner.Enter(m, a.insideArgs(m), env)
	var refused *runner.MapError
	if errors.As(err, &refused) {
		m = m.Alone(refused.Error())
		in, err = runner.Enter(m, a.insideArgs(m), env)
	}
	if err != nil {
		signal.Stop(signals)
		return false, err
	}
	if os.Geteuid() == 0 {
		a.say("note: root has no right to mount here: root inside is root of this outer container, with rights over namespaces of its own only")
	}
	if tell && m.Single() {
		a.say("note: %s, so everything inside belongs to you alone; for real owners: %s", m.Why, m.Fix)
	}
	code, said := container.RelayUntilEnd(in, signals)
	if a.exit = code; said != "" {
		fmt.Fprintln(a.stderr, said)
	}
	return true, nil
}

// insideArgs are the second process's. What begins in the whole program goes on there.
func (a *app) insideArgs(m *runner.UserMap) []string {
	return append([]string{container.InsideName(m.Size(), true)}, a.argv...)
}

// userMap finds the id ranges of the user.
func (a *app) userMap() (*runner.UserMap, error) {
	if os.Geteuid() == 0 {
		return runner.OwnMap()
	}
	return container.UserMap(filepath.SplitList(a.getenv("PATH")))
}
