package main

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/suites"
)

// printRootsJSON prints every name whose root is there, then the roots without a name, as printJSON would print their
// rows: what does not change stands in the listing as it is printed.
func (a *app) printRootsJSON(store *cache.Store, listed []cache.Listed) error {
	if len(listed) == 0 {
		return a.printJSON([]lsRow{})
	}
	set, err := a.suites()
	if err != nil {
		a.log().Debug("the suites' names are not known", "error", err) // a list is worth more
	}
	names, tags := make(map[cache.Digest][]string, len(listed)), map[cache.Digest][]string{}
	size := 0
	for _, l := range listed {
		if size += len(l.Row) + 300; l.Name == "" {
			continue
		}
		names[l.Root] = append(names[l.Root], l.Name)
		if !isPlainName(set, l.Name) {
			tags[l.Root] = append(tags[l.Root], l.Name)
		}
	}
	out := append(make([]byte, 0, size), "[\n"...)
	for i, use := range store.Uses(listed) {
		l := listed[i]
		_, fixed, _ := strings.Cut(l.Row, rowSep)
		before, after, _ := strings.Cut(fixed, rowSep)
		out = appendLines(out, before)
		out = appendStrings(append(out, `    "names": `...), names[l.Root])
		out = appendStrings(append(out, `    "tags": `...), tags[l.Root])
		out = strconv.AppendInt(append(out, `    "disk_size": `...), l.Bytes, 10)
		out = use.Used.UTC().Truncate(time.Second).AppendFormat(append(out, ",\n    \"last_used\": \""...), time.RFC3339)
		out = strconv.AppendBool(append(out, "\",\n    \"in_use\": "...), use.InUse)
		out = appendLines(append(out, ",\n"...), after)
		if i < len(listed)-1 {
			out = append(out, ',')
		}
		out = append(out, '\n')
	}
	_, err = a.stdout.Write(append(out, "]\n"...))
	return err
}

// appendLines gives a row of the listing its line ends back.
func appendLines(out []byte, row string) []byte {
	n := len(out)
	out = append(out, row...)
	for at := n; ; at++ {
		i := bytes.IndexByte(out[at:], rowLine[0])
		if i < 0 {
			return out
		}
		at += i
		out[at] = '\n'
	}
}

// appendStrings sets a list of names, which have no letter that JSON would escape.
func appendStrings(out []byte, names []string) []byte {
	if len(names) == 0 {
		return append(out, "[],\n"...)
	}
	return append(append(append(out, "[\n      \""...), strings.Join(names, "\",\n      \"")...), "\"\n    ],\n"...)
}

// isPlainName says whether a name always means a suite, so that no tag can be it.
func isPlainName(set *suites.Set, name string) bool {
	if set == nil || !set.Has(suiteWord(set, name)) { // for an unknown one parseName would look for near names
		return false
	}
	req, err := parseName(set, name)
	return err == nil && req.Name(hostArch()) == name
}
