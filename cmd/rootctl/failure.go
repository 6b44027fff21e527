package main

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/debootstrap/archive"
	"github.com/rootctl/rootctl/suites"
)

// failure is what --json prints on stdout in the place of a result; its fields are an interface to scripts.
type failure struct {
	Name    string                    `json:"name,omitempty"` // in a list of ensure: what was asked for
	Lock    string                    `json:"lock,omitempty"` // in a list: the root of the lock file that failed
	Error   string                    `json:"error"`
	Hint    string                    `json:"hint,omitempty"`
	Code    int                       `json:"code"`                   // the process's exit code
	Near    []string                  `json:"did_you_mean,omitempty"` // names of suites
	Mirrors []failedMirror            `json:"mirrors,omitempty"`      // those asked, in order
	Missing []debootstrap.MissingItem `json:"missing,omitempty"`      // offline: what would have to be fetched
	Script  *failedScript             `json:"script,omitempty"`
	Differ  []string                  `json:"differ,omitempty"` // build --check: a line for each path
}

// failedMirror is a mirror that was of no use.
type failedMirror struct {
	Mirror string `json:"mirror"` // without user and password
	Error  string `json:"error"`
}

// failedScript is the maintainer script, or the configuring, that a build ended with.
type failedScript struct {
	LastLines []string `json:"last_lines"`
	Cause     string   `json:"cause,omitempty"`
	Log       string   `json:"log,omitempty"`
}

// printFailure gives a script that asked for JSON the reason on stdout; stderr has it in words already.
func (a *app) printFailure(err error, f failure) {
	var path *fs.PathError
	if a.verbIsRun || !asksJSON(a.argv) || errors.As(err, &path) && path.Path == os.Stdout.Name() {
		return // run's stdout is the command's
	}
	_ = a.printJSON(f) // what it tells stands on stderr
}

// newFailure takes what there is to tell from an error.
func newFailure(err error, text, hint string, code int) failure {
	f := failure{Error: printable(text), Hint: printable(hint), Code: code}
	var unknown *suites.UnknownSuite
	if errors.As(err, &unknown) {
		f.Near = unknown.Near
	}
	var none *archive.NoMirror
	if errors.As(err, &none) {
		for _, t := range none.Tried {
			f.Mirrors = append(f.Mirrors, failedMirror{t.Mirror, printable(t.Err.Error())})
		}
	}
	var nowhere *archive.Unavailable
	if errors.As(err, &nowhere) {
		for _, t := range nowhere.Tried {
			f.Mirrors = append(f.Mirrors, failedMirror{t.Mirror, printable(t.Err.Error())})
		}
	}
	var missing *debootstrap.Missing
	if errors.As(err, &missing) {
		f.Missing = missing.Items
	}
	var script *debootstrap.ConfigureError
	if errors.As(err, &script) {
		f.Script = &failedScript{Cause: script.Cause(), Log: script.LogPath, LastLines: []string{}}
		for _, line := range script.LastLines {
			f.Script.LastLines = append(f.Script.LastLines, oneLine(line))
		}
	}
	var different *debootstrap.DifferentError
	if errors.As(err, &different) {
		f.Differ = different.Paths
	}
	return f
}

// asksJSON looks for --json among arguments that may not all have been understood.
func asksJSON(argv []string) (asks bool) {
	for _, arg := range argv {
		switch value, ok := strings.CutPrefix(arg, "--json="); {
		case arg == "--":
			return asks
		case arg == "--json":
			asks = true
		case ok:
			asks, _ = strconv.ParseBool(value)
		}
	}
	return asks
}
