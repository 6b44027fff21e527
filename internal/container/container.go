// Package container holds what both programs of rootctl's one file, the whole one and the quick one, do for a container
// once its root is leased.
package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/runner"
)

const (
	// IDsDir is where running containers claim their id ranges.
	IDsDir = "/run/rootctl/ids"
	// RootsCache is root's default cache.
	RootsCache = "/var/cache/rootctl"
	// RootsRecords is where root's containers are recorded.
	RootsRecords = "/run/rootctl/containers"
	// TriedNet begins the note after a command that failed without a network.
	TriedNet = "note: the command tried the network, which is off; "
)

// What the user is told after TriedNet, and of a container that was killed.
const (
	AddNet      = "add --net=host or --net=nat"
	AddNetToRun = "the container needs a run with --net=host or --net=nat"
	TimedOut    = "rootctl: the command did not end in time after the signal: killed"
	KilledWith  = "rootctl: killed from outside, or with the container (signal 9)"
)

// Killed is said of a container that somebody else ended.
func Killed(signal int) string {
	return fmt.Sprintf("rootctl: killed from outside (signal %d)", signal)
}

// Hostname is that of a container without --hostname.
const Hostname = "rootctl"

// Signals are forwarded to the container.
func Signals() []os.Signal {
	return []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2}
}

// Env is the environment inside, before anything is added: little, and the same everywhere.
func Env() []string {
	return []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "USER=root", "LOGNAME=root",
		"LANG=C.UTF-8", "container=rootctl"}
}

// EtcLayer is a folder of the cache that holds what a copy's /etc gets. A layer that is there already costs less than
// three files made and removed.
func EtcLayer(store *cache.Store, spec *runner.Spec) (*cache.Layer, error) {
	files := map[string][]byte{}
	for _, f := range spec.EtcFiles() {
		files[strings.TrimPrefix(f.Path, "/")] = f.Data
	}
	return store.Layer(files)
}

// OddEtc says whether a root's /etc is a folder with another mode or owner than EtcLayer's, or with attributes: the
// layer, which lies over it, would hide them.
func OddEtc(tree string) bool {
	var st unix.Stat_t
	etc := filepath.Join(tree, "etc")
	if unix.Lstat(etc, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return false // a copy gets a folder in its place anyway
	}
	if st.Mode&0o7777 != 0o755 || st.Uid != 0 || st.Gid != 0 {
		return true
	}
	names := make([]byte, 256)
	n, err := unix.Llistxattr(etc, names)
	if err != nil {
		return !errors.Is(err, unix.ENOTSUP)
	}
	for name := range strings.SplitSeq(string(names[:n]), "\x00") {
		if name != "" && !strings.HasPrefix(name, "security.") { // the host's label
			return true
		}
	}
	return false
}
