package main

import "runtime/debug"

// revision is set by the Makefile: the commit, with -dirty if the work tree differs from it.
var revision string

// version is the module's version as the Go tool recorded it, "(devel)" in a work tree, and the commit.
func version() string {
	v := "unknown"
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" {
		v = b.Main.Version
	}
	if revision != "" {
		v += " " + revision
	}
	return v
}
