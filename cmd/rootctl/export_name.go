package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// guessFormat reads the end of a file's name.
func guessFormat(name string) (format string, c snapshot.Compression) {
	for _, g := range []struct {
		suffix, format string
		c              snapshot.Compression
	}{
		{"/", formatDir, ""}, {".oci", formatOCI, ""}, {".oci.tar", formatOCI, ""},
		{".zst", formatTar, snapshot.Zstd}, {".zstd", formatTar, snapshot.Zstd}, {".tzst", formatTar, snapshot.Zstd},
		{".gz", formatTar, snapshot.Gzip}, {".tgz", formatTar, snapshot.Gzip},
		{".xz", formatTar, snapshot.XZ}, {".txz", formatTar, snapshot.XZ},
	} {
		if strings.HasSuffix(strings.ToLower(name), g.suffix) {
			return g.format, g.c
		}
	}
	return formatTar, ""
}

// misnamed refuses a name that says something of the file that is not so, unless --compress, which has the last word on
// a tarball, was given.
func misnamed(p *exportPlan) error {
	if p.folder || p.output == "-" {
		return nil
	}
	refuse := func(hint, format string, args ...any) error {
		return withHint(&flagError{fmt.Errorf(format, args...)}, "%s", hint)
	}
	said, c := guessFormat(p.output)
	end := filepath.Ext(p.output)
	switch {
	case p.format == formatOCI && c != "":
		return refuse("name it .oci.tar; --compress is for the layer in it", "%s: the archive of an image is not compressed, its layer is", p.output)
	case p.tool == toolPbuilder && c != "" && c != snapshot.Gzip:
		return refuse("name it .tgz", "%s: pbuilder wants gzip", p.output)
	case (p.tool == toolPbuilder || p.tool == toolSbuild) && said == formatOCI:
		return refuse("name it .tar.gz", "%s: %s wants a tarball", p.output, p.tool)
	case p.compress == "" && p.tool != toolSchroot && slices.Contains(foreignEnds, strings.ToLower(end)):
		return refuse("name it .tar.zst, .tar.gz, .tar.xz or .tar, or .oci.tar for an image", "%s: rootctl does not write %s", p.output, end)
	}
	return nil
}

// foreignEnds are ends of names that stand for what is no tarball and no image of ours.
var foreignEnds = []string{".bz2", ".tbz", ".tbz2", ".zip", ".7z", ".rar", ".lz", ".lzma", ".lz4", ".lzo", ".br", ".z", ".cpio", ".cpgz",
	".squashfs", ".sqfs", ".iso", ".img", ".raw", ".qcow2", ".ext4", ".deb", ".rpm"}
