package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// These are set by the Makefile; a `go install` leaves them empty.
var (
	release    string // 1.2.3, or 0~git20261124.0123456789ab of a commit that has no such tag
	revision   string // the commit, with -dirty if the work tree differs from it
	buildEpoch string // the commit's time, in seconds since 1970
)

// versions is what version prints, as JSON or as text; its fields are an interface to scripts.
type versions struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`                  // Debian's word
	Epoch    int64  `json:"build_epoch,omitempty"` // the commit's time: no clock is in a build
}

func newVersions() versions {
	v := versions{Version: release, Revision: revision, Go: runtime.Version(), OS: runtime.GOOS, Arch: hostArch()}
	if b, ok := debug.ReadBuildInfo(); ok && v.Version == "" {
		v.Version = b.Main.Version // as the Go tool recorded it, "(devel)" in a work tree
	}
	v.Version = cmp.Or(v.Version, "unknown")
	v.Epoch, _ = strconv.ParseInt(buildEpoch, 10, 64) // 0: not known
	return v
}

// version is what --version says: the release and the commit.
func version() string {
	v := newVersions()
	if v.Revision != "" {
		v.Version += " " + v.Revision
	}
	return v.Version
}

func newVersionCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "version",
		Short:   "say which rootctl this is, and of which commit",
		Example: "  rootctl version\n  rootctl version --json",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			v := newVersions()
			if asJSON {
				return a.printJSON(v)
			}
			text := fmt.Sprintf("rootctl %s (%s, %s/%s)", version(), v.Go, v.OS, v.Arch)
			if v.Epoch != 0 {
				text += " of " + time.Unix(v.Epoch, 0).UTC().Format(time.RFC3339)
			}
			_, err := fmt.Fprintln(a.stdout, text)
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
