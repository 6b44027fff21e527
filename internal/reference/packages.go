package reference

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Packages maps "name:arch" to "version status" of a root's dpkg database.
type Packages map[string]string

// ReadPackages reads the dpkg status file of a tree. It is a plain reading of its own, so that no
// mistake of rootctl's parser is on both sides of a comparison.
func ReadPackages(root string) (Packages, error) {
	text, err := os.ReadFile(filepath.Join(root, "var/lib/dpkg/status"))
	if err != nil {
		return nil, err
	}
	all := Packages{}
	for paragraph := range strings.SplitSeq(string(text), "\n\n") {
		f := map[string]string{}
		for line := range strings.SplitSeq(paragraph, "\n") {
			name, value, ok := strings.Cut(line, ": ")
			if ok && !strings.HasPrefix(line, " ") {
				f[name] = value
			}
		}
		if f["Package"] == "" {
			continue
		}
		all[f["Package"]+":"+f["Architecture"]] = f["Version"] + " " + f["Status"]
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: no packages in the dpkg status file", root)
	}
	return all, nil
}

// ComparePackages returns the differences of two package lists. With common, packages that only one
// side has are left out and counted instead.
func ComparePackages(ours, theirs Packages, common bool) (all []Difference, onlyOurs, onlyTheirs []string) {
	for name, o := range ours {
		r, ok := theirs[name]
		if !ok {
			onlyOurs = append(onlyOurs, name)
		}
		if o != r && (ok || !common) {
			all = append(all, Difference{name, "package", o, r})
		}
	}
	for name, r := range theirs {
		if _, ok := ours[name]; !ok {
			onlyTheirs = append(onlyTheirs, name)
			if !common {
				all = append(all, Difference{name, "package", "", r})
			}
		}
	}
	slices.Sort(onlyOurs)
	slices.Sort(onlyTheirs)
	return all, onlyOurs, onlyTheirs
}

// OwnedBy returns those files of a tree that the named packages ("name:arch") ship, by the .list files
// of its dpkg database. Paths are those on disk: /bin/sh is usr/bin/sh where bin is a link.
func OwnedBy(root string, tree Tree, names map[string]bool) (Tree, error) {
	part := Tree{}
	for p := range names {
		name, _, _ := strings.Cut(p, ":")
		list, err := os.ReadFile(filepath.Join(root, "var/lib/dpkg/info", name+".list"))
		if os.IsNotExist(err) { // of a package that is Multi-Arch: same
			list, err = os.ReadFile(filepath.Join(root, "var/lib/dpkg/info", p+".list"))
		}
		if err != nil {
			return nil, err
		}
		for line := range strings.SplitSeq(strings.TrimSpace(string(list)), "\n") {
			line = strings.TrimPrefix(line, "/")
			if top, rest, ok := strings.Cut(line, "/"); ok && tree[top].Type == 'l' {
				line = tree[top].Link + "/" + rest
			}
			if n, ok := tree[line]; ok {
				part[line] = n
			}
		}
	}
	return part, nil
}
