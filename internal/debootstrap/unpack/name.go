package unpack

import (
	"errors"
	"strings"
)

const (
	maxPath = 4000 // PATH_MAX less room for the tree's own
	maxPart = 255 - len(newSuffix) - 8
)

// clean turns a member's name into an absolute path inside the tree, as dpkg
// writes it in a .list: "./etc/x" is "/etc/x", "./" is "/". What dpkg-deb
// never makes, and only an attacker would, is an error: nothing is guessed.
func clean(name string) (string, error) {
	if name == "" {
		return "", errors.New("empty name")
	}
	if name[0] == '/' {
		return "", errors.New("absolute name")
	}
	if len(name) > maxPath {
		return "", errors.New("name is too long")
	}
	s := name
	for strings.HasPrefix(s, "./") {
		s = s[2:]
	}
	s = strings.TrimSuffix(s, "/")
	if s == "" || s == "." {
		return "/", nil
	}
	if strings.IndexByte(s, '\n') >= 0 || strings.IndexByte(s, 0) >= 0 {
		return "", errors.New("name holds a line end or a NUL") // the .list is made of lines
	}
	for rest, part := s, ""; rest != ""; {
		part, rest, _ = strings.Cut(rest, "/")
		switch {
		case part == "..":
			return "", errors.New("name leads out of the tree")
		case part == "" || part == ".":
			return "", errors.New("name has an empty part")
		case len(part) > maxPart:
			return "", errors.New("a part of the name is too long")
		}
	}
	if s[len(s)-1] == '/' {
		return "", errors.New("name has an empty part")
	}
	return "/" + s, nil
}

// parents calls f with each directory above p but "/", the nearest first, until
// f says no.
func parents(p string, f func(string) bool) bool {
	for {
		i := strings.LastIndexByte(p, '/')
		if i <= 0 {
			return true
		}
		p = p[:i]
		if !f(p) {
			return false
		}
	}
}

// split cuts a clean path other than "/" in parent and last part.
func split(p string) (dir, base string) {
	i := strings.LastIndexByte(p, '/')
	if i == 0 {
		return "/", p[1:]
	}
	return p[:i], p[i+1:]
}

// list is a path's form in a .list.
func list(p string) string {
	if p == "/" {
		return "/."
	}
	return p
}
