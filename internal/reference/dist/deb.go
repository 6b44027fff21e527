package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// A file of the package, by its path without the first slash. Folders come by themselves.
type file struct {
	path string
	mode int64 // permission bits
	link string
	text []byte
}

// members is a tar of files and the folders they are in, root's, all of one time, in the order of their paths.
func members(files []file, when time.Time) ([]byte, error) {
	all := slices.Clone(files)
	seen := map[string]bool{".": true}
	for _, f := range files {
		for dir := path.Dir(f.path); !seen[dir]; dir = path.Dir(dir) {
			seen[dir] = true
			all = append(all, file{path: dir + "/", mode: 0o755})
		}
	}
	all = append(all, file{path: "", mode: 0o755})
	slices.SortFunc(all, func(a, b file) int { return strings.Compare(a.path, b.path) })
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range all {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: "./" + f.path, Mode: f.mode, Size: int64(len(f.text)), Linkname: f.link,
			ModTime: when, Uname: "root", Gname: "root", Format: tar.FormatGNU}
		switch {
		case f.link != "":
			h.Typeflag = tar.TypeSymlink
		case strings.HasSuffix(h.Name, "/"):
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("%s: %w", f.path, err)
		}
		if _, err := w.Write(f.text); err != nil {
			return nil, fmt.Errorf("%s: %w", f.path, err)
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

// zip is gzip -9n: no name and no time are in it.
func zip(text []byte) []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is one that there is
	w.Write(text)                                         // a buffer takes all
	w.Close()
	return b.Bytes()
}

// archive joins the members of a .deb (deb(5)): an ar archive, of gzip so that every dpkg since 2002 reads it.
func archive(control, data []byte, when time.Time) []byte {
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	add := func(name string, text []byte) {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", name, when.Unix(), 0, 0, 0o100644, len(text))
		b.Write(text)
		if len(text)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	add("debian-binary", []byte("2.0\n"))
	add("control.tar.gz", zip(control))
	add("data.tar.gz", zip(data))
	return b.Bytes()
}

// md5sums lists the regular files as dpkg's --verify reads them.
func md5sums(files []file) []byte {
	var b bytes.Buffer
	for _, f := range files {
		if f.link == "" {
			fmt.Fprintf(&b, "%x  %s\n", md5.Sum(f.text), f.path)
		}
	}
	return b.Bytes()
}

// installedSize is what the files take in KiB, as dpkg-gencontrol reckons: a file's full KiB, and one for all else.
func installedSize(files []file) (kib int64) {
	dirs := map[string]bool{}
	for _, f := range files {
		if f.link == "" {
			kib += (int64(len(f.text)) + 1023) / 1024
		} else {
			kib++
		}
		for dir := path.Dir(f.path); dir != "." && !dirs[dir]; dir = path.Dir(dir) {
			dirs[dir] = true
			kib++
		}
	}
	return kib + 1 // the root's
}
