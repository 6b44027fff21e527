package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// tarOf makes a tar; files hold a word.
func tarOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		body := ""
		if h.Typeflag == 0 || h.Typeflag == tar.TypeReg {
			h.Typeflag, body = tar.TypeReg, "owned"
		}
		h.Size, h.ModTime = int64(len(body)), time.Unix(1e9, 0)
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func named(name string) tar.Header { return tar.Header{Name: name} }
func link(name, to string) tar.Header {
	return tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeSymlink}
}
func hardlink(name, to string) tar.Header {
	return tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeLink}
}
func dir(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeDir} }

// patched changes bytes of a tar's first header and makes its checksum right.
func patched(b []byte, at int, with string) []byte {
	b = bytes.Clone(b)
	copy(b[at:], with)
	copy(b[148:156], "        ")
	sum := 0
	for _, c := range b[:512] {
		sum += int(c)
	}
	copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// block is a header of a type that archive/tar does not write, with content and padding.
func block(t testing.TB, kind byte, name, content string) []byte {
	b := tarOf(t, named("n"))[:512]
	b = patched(b, 0, name+"\x00")
	b = patched(b, 124, fmt.Sprintf("%011o\x00", len(content)))
	b = patched(b, 156, string(kind))
	return append(append(b, content...), make([]byte, -len(content)&511)...)
}

func paxed(t testing.TB, kind byte, records ...string) []byte {
	var text string
	for _, r := range records {
		n := len(r) + 2
		for len(fmt.Sprint(n))+len(r)+2 != n {
			n = len(fmt.Sprint(n)) + len(r) + 2
		}
		text += fmt.Sprintf("%d %s\n", n, r)
	}
	return block(t, kind, "pax", text)
}

func gzipped(t testing.TB, b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func base256(v int64) string {
	b := binary.BigEndian.AppendUint64([]byte{0x80, 0, 0, 0}, uint64(v))
	if v < 0 {
		copy(b, "\xff\xff\xff\xff")
	}
	return string(b)
}

// hostileTars are archives that must be refused, and a part of what is said.
func hostileTars(t testing.TB, outside string) map[string]struct {
	data []byte
	says string
	args []string
} {
	plain := tarOf(t, named("file"))
	big := bytes.Repeat([]byte{0}, 8<<20)
	sparse := block(t, 'S', "bomb", "")
	sparse = patched(sparse, 257, "ustar  \x00")
	sparse = patched(sparse, 483, base256(1<<50))
	type bad = struct {
		data []byte
		says string
		args []string
	}
	return map[string]bad{
		"dot-dot":                                {tarOf(t, named("../outside/new")), "leads upwards", nil},
		"dot-dot inside":                         {tarOf(t, dir("usr"), named("./usr/../../outside/new")), "leads upwards", nil},
		"dot-dot at the end":                     {tarOf(t, dir("usr/..")), "leads upwards", nil},
		"absolute":                               {tarOf(t, named(outside+"/new")), "absolute", nil},
		"no name":                                {patched(plain, 0, "\x00\x00\x00\x00"), "no name", nil},
		"link, then a file through it":           {tarOf(t, link("x", outside), named("x/kept")), "is a symbolic link", nil},
		"link up, then a file through it":        {tarOf(t, link("x", "../../../../outside"), named("x/kept")), "is a symbolic link", nil},
		"link inside, then a file through it":    {tarOf(t, dir("d"), link("x", "d"), named("x/f")), "is a symbolic link", nil},
		"link, then a folder below it":           {tarOf(t, link("x", outside), dir("x/d")), "is a symbolic link", nil},
		"links in a chain":                       {tarOf(t, dir("a"), link("a/b", ".."), link("a/c", "b/.."), named("a/c/outside/kept")), "is a symbolic link", nil},
		"hardlink to a link, then through it":    {tarOf(t, link("x", outside), hardlink("y", "x"), named("y/kept")), "is a symbolic link", nil},
		"file below a file":                      {tarOf(t, named("a"), named("a/b")), "is a file", nil},
		"hardlink out":                           {tarOf(t, hardlink("x", "../outside/kept")), "leads upwards", nil},
		"hardlink to an absolute path":           {tarOf(t, hardlink("x", outside+"/kept")), "absolute", nil},
		"hardlink through a link":                {tarOf(t, link("x", outside), hardlink("y", "x/kept")), "no earlier file", nil},
		"hardlink to a later file":               {tarOf(t, hardlink("x", "y"), named("y")), "no earlier file", nil},
		"hardlink to a folder":                   {tarOf(t, dir("d"), hardlink("x", "d")), "no earlier file", nil},
		"hardlink to a device":                   {tarOf(t, tar.Header{Name: "c", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}, hardlink("x", "c")), "no earlier file", nil},
		"whiteout device":                        {tarOf(t, tar.Header{Name: "c", Typeflag: tar.TypeChar}), "whiteout", nil},
		"device that Linux has not":              {tarOf(t, tar.Header{Name: "c", Typeflag: tar.TypeBlock, Devmajor: 5000}), "no device", nil},
		"file over a folder with files":          {tarOf(t, dir("d"), named("d/f"), named("d")), "not empty", nil},
		"root as a link":                         {tarOf(t, link(".", outside)), "root is no directory", nil},
		"root as a file":                         {tarOf(t, named(".")), "root is no directory", nil},
		"empty link":                             {tarOf(t, tar.Header{Name: "x", Typeflag: tar.TypeSymlink}), "link", nil},
		"file that ends in a slash":              {patched(plain, 0, "dir/\x00"), "slash", nil},
		"name of 256 bytes":                      {tarOf(t, named(strings.Repeat("n", 256))), "bad path element", nil},
		"path of 5000 bytes":                     {tarOf(t, named(strings.Repeat(strings.Repeat("n", 99)+"/", 50)+"n")), "path of", nil},
		"300 folders deep":                       {tarOf(t, named(strings.Repeat("d/", 300)+"f")), "folders deep", nil},
		"long name that leads out":               {append(block(t, 'L', "././@LongLink", "../outside/new\x00"), plain...), "leads upwards", nil},
		"long link that leads out":               {append(block(t, 'K', "././@LongLink", "../outside/kept\x00"), tarOf(t, hardlink("x", "y"))...), "leads upwards", nil},
		"long name of 2 MB":                      {append(block(t, 'L', "././@LongLink", strings.Repeat("n", 2<<20)), plain...), "hint", nil},
		"pax path that leads out":                {append(paxed(t, 'x', "path=../outside/new"), plain...), "leads upwards", nil},
		"pax path with a NUL":                    {append(paxed(t, 'x', "path=a\x00b"), plain...), "damaged", nil},
		"pax header of 2 MB":                     {append(paxed(t, 'x', "comment="+strings.Repeat("n", 2<<20)), plain...), "hint", nil},
		"pax header with a wrong length":         {append(block(t, 'x', "pax", "99 path=x\n"), plain...), "header is damaged", nil},
		"pax owner that is none":                 {append(paxed(t, 'x', "uid=4294967295"), plain...), "no owner", nil},
		"pax owner below zero":                   {append(paxed(t, 'x', "uid=-1"), plain...), "no owner", nil},
		"pax size beyond the file":               {append(paxed(t, 'x', "size=1000000"), plain...), "cut off", nil},
		"pax size below zero":                    {append(paxed(t, 'x', "size=-5"), plain...), "header is damaged", nil},
		"attribute of 100 kB":                    {append(paxed(t, 'x', "SCHILY.xattr.user.x="+strings.Repeat("v", 100<<10)), plain...), "extended attribute", nil},
		"300 attributes":                         {append(paxed(t, 'x', manyAttributes(300)...), plain...), "300 extended attributes", nil},
		"global header with a path":              {append(paxed(t, 'g', "path=../outside/new"), plain...), "for all entries", nil},
		"global header with an owner":            {append(paxed(t, 'g', "uid=0"), plain...), "for all entries", nil},
		"global header with attributes":          {append(paxed(t, 'g', "SCHILY.xattr.user.x=y"), plain...), "for all entries", nil},
		"sparse bomb":                            {append(sparse, make([]byte, 1024)...), "bytes of files", nil},
		"sparse bomb in pax":                     {append(append(paxed(t, 'x', "GNU.sparse.major=0", "GNU.sparse.minor=1", "GNU.sparse.name=bomb", "GNU.sparse.numblocks=1", "GNU.sparse.size=1125899906842624", "GNU.sparse.map=0,0"), block(t, '0', "s", "")...), make([]byte, 1024)...), "bytes of files", nil},
		"sparse map that overlaps":               {append(append(paxed(t, 'x', "GNU.sparse.major=0", "GNU.sparse.minor=1", "GNU.sparse.name=x", "GNU.sparse.numblocks=2", "GNU.sparse.size=10", "GNU.sparse.map=0,5,2,5"), block(t, '0', "s", "0123456789")...), make([]byte, 1024)...), "hint", nil},
		"sparse map beyond its data":             {append(append(paxed(t, 'x', "GNU.sparse.major=0", "GNU.sparse.minor=1", "GNU.sparse.name=x", "GNU.sparse.numblocks=1", "GNU.sparse.size=100", "GNU.sparse.map=0,90"), block(t, '0', "s", "0123456789")...), make([]byte, 1024)...), "hint", nil},
		"more than --max-size":                   {tarOf(t, named("a"), named("b")), "more than 9 bytes of files", []string{"--max-size", "9"}},
		"size that is not there":                 {patched(plain, 124, "77777777777\x00"), "hint", nil},
		"size below zero":                        {patched(plain, 124, base256(-512)), "header is damaged", nil},
		"owner below zero":                       {patched(plain, 108, "\xff\xff\xff\xff\xff\xff\xff\xfb"), "no owner", nil},
		"owner beyond 32 bits":                   {patched(plain, 108, "\x80\x00\x00\x01\x00\x00\x00\x00"), "no owner", nil},
		"letters in a number":                    {patched(plain, 124, "12x45678901\x00"), "header is damaged", nil},
		"unknown type":                           {patched(plain, 156, "Q"), "type", nil},
		"a part of many volumes":                 {patched(plain, 156, "M"), "type", nil},
		"wrong checksum":                         {append([]byte("x"), plain[1:]...), "header is damaged", nil},
		"wrong checksum later":                   {append(plain[:1024:1024], append([]byte("x"), plain[1:]...)...), "header is damaged", nil},
		"cut in a header":                        {append(plain[:1024:1024], plain[:100]...), "cut off", nil},
		"cut in a file":                          {plain[:514], "cut off", nil},
		"end missing":                            {plain[:1024], "end is missing", nil},
		"half an end":                            {plain[:1536], "end is missing", nil},
		"something after the end":                {append(bytes.Clone(plain), plain...), "follows the archive's end", nil},
		"no bytes":                               {nil, "it is empty", nil},
		"no entries":                             {make([]byte, 10240), "holds no files", nil},
		"no archive":                             {[]byte(strings.Repeat("#!/bin/sh\n", 100)), "no tar archive", nil},
		"gzip cut":                               {gzipped(t, plain)[:40], "hint", nil},
		"gzip with a wrong checksum":             {withFlip(gzipped(t, plain), -6), "hint", nil},
		"gzip with something after it":           {append(gzipped(t, plain), "rubbish"...), "hint", nil},
		"gzip in gzip":                           {gzipped(t, gzipped(t, plain)), "hint", nil},
		"gzip bomb":                              {gzipped(t, append(patched(plain[:512], 124, fmt.Sprintf("%011o\x00", len(big))), append(big, make([]byte, 1024)...)...)), "more than 1000000 bytes", []string{"--max-size", "1MB"}},
		"zstd cut":                               {[]byte("\x28\xb5\x2f\xfd\x04\x58"), "hint", nil},
		"zstd with a window of 2 GB":             {[]byte("\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00"), "hint", nil},
		"xz with a dictionary of 4 GB":           {hugeXZ(), "dictionary", nil},
		"bzip2 that is none":                     {[]byte("BZh9 but not really"), "hint", nil},
		"image without an index":                 {tarOf(t, dir("blobs"), dir("blobs/sha256")), "neither index.json", nil},
		"image whose index is no JSON":           {tarOf(t, named("oci-layout"), named("index.json")), "index cannot be read", nil},
		"docker's manifest.json that is no JSON": {tarOf(t, named("manifest.json")), "cannot be read", nil},
	}
}

func manyAttributes(n int) (records []string) {
	for i := range n {
		records = append(records, fmt.Sprintf("SCHILY.xattr.user.x%d=y", i))
	}
	return records
}

func withFlip(b []byte, at int) []byte {
	if at < 0 {
		at += len(b)
	}
	b[at] ^= 1
	return b
}

// hugeXZ is the beginning of an xz file whose block asks for a dictionary of 4 GB less one byte.
func hugeXZ() []byte {
	b := []byte("\xfd7zXZ\x00\x00\x00")
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b[6:8]))
	head := []byte{2, 0, 0x21, 1, 40, 0, 0, 0}
	b = append(b, head...)
	return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(head))
}

// TestImportHostile gives import what is made to do harm, or broken: each is refused with a reason and a next step, and
// nothing is changed in the cache or outside of it.
func TestImportHostile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: a cache whose imports have devices and owners")
	}
	h := newHostileImport(t)
	for summary, tc := range hostileTars(t, h.outside) {
		t.Run(summary, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "evil.tar")
			if err := os.WriteFile(file, tc.data, 0o600); err != nil {
				t.Fatal(err)
			}
			h.refused(t, file, tc.says, tc.args...)
		})
	}
}

type hostileImport struct {
	fixture
	dir, cache, outside string
	before              []string
}

func newHostileImport(t *testing.T) *hostileImport {
	t.Helper()
	h := &hostileImport{fixture: fixture{self: ownCopy(t)}, dir: t.TempDir()}
	h.cache, h.outside = filepath.Join(h.dir, "cache"), filepath.Join(h.dir, "outside")
	good := filepath.Join(t.TempDir(), "good.tar")
	err := errors.Join(os.Mkdir(h.outside, 0o755), os.WriteFile(h.outside+"/kept", []byte("mine"), 0o600),
		os.WriteFile(good, tarOf(t, dir("."), named("file")), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := h.command(h.cache, "import", good, "--tag", "evil").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	h.before = h.state(t)
	return h
}

// refused imports file and looks for any trace of it.
func (h *hostileImport) refused(t *testing.T, file, says string, args ...string) {
	t.Helper()
	c := h.command(h.cache, append([]string{"import", file, "--tag", "evil"}, args...)...)
	var stderr, stdout bytes.Buffer
	c.Stderr, c.Stdout = &stderr, &stdout
	err := c.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != codeFailed {
		t.Errorf("ended with %v, want exit code %d", err, codeFailed)
	}
	text := stderr.String()
	if !strings.Contains(text, says) || !strings.Contains(text, "hint: ") || strings.Count(text, "\n") > 3 || len(text) > 1200 || stdout.Len() > 0 {
		t.Errorf("want %q and a hint, and nothing on stdout:\n%s%s", says, text, stdout.Bytes())
	}
	if diff := cmp.Diff(h.before, h.state(t)); diff != "" {
		t.Errorf("changed: %s", diff)
	}
}

// state lists all below the test's folder but locks and times of use.
func (h *hostileImport) state(t *testing.T) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(h.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(h.dir, path)
		if rel == "cache/locks" || rel == "cache/use" {
			return fs.SkipDir
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		line := fmt.Sprintf("%s %o %d:%d %d", rel, st.Mode, st.Uid, st.Gid, st.Nlink)
		if d.Type().IsRegular() {
			line += fmt.Sprintf(" %d %d", st.Size, st.Mtim.Nano())
		}
		out = append(out, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
