package main

import (
	"path/filepath"
	"strings"
)

// line is a command line of run or exec.
type line struct {
	verb     string
	name     string
	argv     []string
	env      []string
	inMemory bool   // --upper=tmpfs
	inside   uint32 // ids of the user namespace in which this is the second process, 0 elsewhere
}

// parse reads what this program does itself; the rest is for the whole program, wrong words included.
func parse(words []string) (l line, ok bool) {
	if len(words) < 3 || words[0] != "run" && words[0] != "exec" {
		return l, false
	}
	l.verb = words[0]
	words = words[1:]
	for len(words) > 0 && strings.HasPrefix(words[0], "-") {
		n := l.flag(words)
		if n == 0 {
			return l, false
		}
		words = words[n:]
	}
	if len(words) < 2 {
		return l, false
	}
	l.name, l.argv = words[0], words[1:]
	if l.argv[0] == "--" {
		l.argv = l.argv[1:]
	} else if strings.HasPrefix(l.argv[0], "-") { // a flag in the wrong place, perhaps
		return l, false
	}
	for _, w := range l.argv {
		if strings.IndexByte(w, 0) >= 0 {
			return l, false
		}
	}
	return l, len(l.argv) > 0 && l.argv[0] != "" && l.name != "." && filepath.IsLocal(l.name) && l.name == filepath.Base(l.name)
}

// flag takes a flag at the beginning of words and says how many words it is, 0 for one that is not known here.
func (l *line) flag(words []string) int {
	name, value, joined := strings.Cut(words[0], "=")
	n := 1
	take := func() bool {
		if joined {
			return true
		}
		if len(words) < 2 {
			return false
		}
		value, n = words[1], 2
		return true
	}
	switch {
	case name == "--env" && take():
		if strings.IndexByte(value, '=') < 1 {
			return 0
		}
		l.env = append(l.env, value)
	case l.verb != "run":
		return 0
	case words[0] == "--no-build": // a cached root is not built either way
	case name == "--upper" && take() && (value == "disk" || value == "tmpfs"):
		l.inMemory = value == "tmpfs"
	case name == "--net" && take() && value == "none":
	default:
		return 0
	}
	return n
}
