package main

import "runtime/debug"

// version is the module's version as the Go tool recorded it; "(devel)" in a work tree.
func version() string {
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" {
		return b.Main.Version
	}
	return "unknown"
}
