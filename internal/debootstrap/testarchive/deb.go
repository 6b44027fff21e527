package testarchive

import (
	"archive/tar"
	"bytes"
	"crypto/md5"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// Package describes one binary package. The zero value of every field but Name is usable.
type Package struct {
	Name, Version, Arch string            // "1.0", the archive's first architecture
	Component           string            // "main"
	Fields              map[string]string // further control fields, also in the index
	Index               map[string]string // fields of the index that differ; an empty value drops one
	Control             map[string]string // all fields, of a real .deb; nil: those made up here and Fields
	Files               []File            // parent directories are added
	Scripts             map[string]string // control members: preinst, conffiles, triggers, ...
	Compression         string            // of data.tar: none, gz (default), xz, zst, bz2, lzma
	ControlCompression  string            // of control.tar; default gz

	SlashNames bool        // ar names end in "/", as GNU ar writes them
	NoMD5Sums  bool        // leaves out the md5sums member
	NoParents  bool        // Files is the whole tar: no "./", no parent directories
	DataTar    []byte      // replaces data.tar before compression
	ControlTar []byte      // replaces control.tar before compression
	Data       []byte      // replaces the compressed data member
	Extra      []ArMember  // further ar members, behind the usual three
	Raw        []byte      // replaces the whole .deb
	Path       string      // in the archive; default pool/COMPONENT/N/NAME/NAME_VERSION_ARCH.deb
	Time       time.Time   // of files; default Epoch
	Header     *tar.Header // unused fields of every entry are taken from here (format, PAX records)
}

// File is one entry of data.tar. A name that ends in "/" is a directory.
type File struct {
	Name       string // usr/bin/x; written as ./usr/bin/x
	Body       string
	Mode       int64 // 0: 0644, 0755 for directories and for scripts and programs in bin, sbin
	UID, GID   int
	User       string // default root
	Group      string // default root
	Link, Hard string // target of a symbolic link; target of a hard link as a Name
	Char       bool   // a character device with Major and Minor
	Block      bool
	Fifo       bool
	Major      int64
	Minor      int64
	Xattrs     map[string]string
	Header     *tar.Header // written as it stands, for hostile entries; all else is ignored but Body
}

// ArMember is one member of the .deb's ar archive.
type ArMember struct {
	Name string
	Data []byte
}

func (p Package) withDefaults(a *Archive) Package {
	if p.Arch == "" {
		p.Arch = a.Arches[0]
	}
	if p.Component == "" {
		p.Component = a.Components[0]
	}
	if p.Version == "" {
		p.Version = "1.0"
	}
	return p
}

func (p Package) poolPath() string {
	if p.Path != "" {
		return p.Path
	}
	_, v, epoch := strings.Cut(p.Version, ":")
	if !epoch {
		v = p.Version
	}
	return fmt.Sprintf("pool/%s/%s/%s/%s_%s_%s.deb", p.Component, p.Name[:1], p.Name, p.Name, v, p.Arch)
}

func (p Package) controlFields() map[string]string {
	if p.Control != nil {
		return p.Control
	}
	fields := map[string]string{
		"Package": p.Name, "Version": p.Version, "Architecture": p.Arch,
		"Maintainer": "Nobody <nobody@example.org>", "Priority": "optional", "Section": "misc",
		"Description": p.Name + " for tests",
	}
	maps.Copy(fields, p.Fields)
	maps.DeleteFunc(fields, func(_, v string) bool { return v == "" })
	return fields
}

// Deb returns the package's bytes.
func (p Package) Deb() []byte {
	if p.Raw != nil {
		return p.Raw
	}
	if p.Version == "" {
		p.Version = "1.0"
	}
	if p.Arch == "" {
		p.Arch = "amd64"
	}
	control, data := p.ControlTar, p.DataTar
	if control == nil {
		control = p.controlTar()
	}
	if data == nil {
		data = p.dataTar()
	}
	body := p.Data
	if body == nil {
		body = Compress(p.Compression, data)
	}
	members := []ArMember{
		{"debian-binary", []byte("2.0\n")},
		{"control.tar" + extension(p.ControlCompression), Compress(p.ControlCompression, control)},
		{"data.tar" + extension(p.Compression), body},
	}
	return Ar(p.SlashNames, append(members, p.Extra...)...)
}

// Ar writes an ar archive as dpkg-deb does; slash ends names in "/" as GNU ar does.
func Ar(slash bool, members ...ArMember) []byte {
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	for _, m := range members {
		name := m.Name
		if slash {
			name += "/"
		}
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", name, Epoch.Unix(), 0, 0, "100644", len(m.Data))
		b.Write(m.Data)
		if len(m.Data)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

func (p Package) controlTar() []byte {
	files := []File{{Name: "control", Body: stanza(p.controlFields())}}
	if _, given := p.Scripts["md5sums"]; !given && !p.NoMD5Sums {
		if sums := p.md5sums(); sums != "" {
			files = append(files, File{Name: "md5sums", Body: sums})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Scripts)) {
		f := File{Name: name, Body: p.Scripts[name], Mode: 0o644}
		switch name {
		case "preinst", "postinst", "prerm", "postrm", "config":
			f.Mode = 0o755
		}
		files = append(files, f)
	}
	return Tar(p.stamp(), p.Header, append([]File{{Name: "./"}}, files...)...)
}

func (p Package) md5sums() string {
	var b strings.Builder
	conffiles := strings.Split(p.Scripts["conffiles"], "\n")
	for _, f := range p.Files {
		regular := f.Header == nil && f.Link == "" && f.Hard == "" && !f.Char && !f.Block && !f.Fifo
		if regular && !strings.HasSuffix(f.Name, "/") && !slices.Contains(conffiles, "/"+f.Name) {
			fmt.Fprintf(&b, "%x  %s\n", md5.Sum([]byte(f.Body)), f.Name)
		}
	}
	return b.String()
}

func (p Package) stamp() time.Time {
	if p.Time.IsZero() {
		return Epoch
	}
	return p.Time
}

func (p Package) dataTar() []byte {
	if p.NoParents {
		return Tar(p.stamp(), p.Header, p.Files...)
	}
	files := []File{{Name: "./"}}
	have := map[string]bool{".": true}
	for _, f := range p.Files {
		if strings.HasSuffix(f.Name, "/") {
			have[strings.TrimSuffix(f.Name, "/")] = true
		}
	}
	written := map[string]bool{".": true}
	var parents func(dir string)
	parents = func(dir string) {
		if written[dir] || have[dir] {
			return
		}
		parents(path.Dir(dir))
		written[dir] = true
		files = append(files, File{Name: dir + "/"})
	}
	for _, f := range p.Files {
		if f.Header == nil && f.Name != "./" {
			parents(path.Dir(strings.TrimSuffix(f.Name, "/")))
		}
		files = append(files, f)
	}
	return Tar(p.stamp(), p.Header, files...)
}

// Tar writes entries in the order given, with nothing added. base, when not nil, gives the format.
func Tar(stamp time.Time, base *tar.Header, files ...File) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := f.header(stamp)
		if base != nil && f.Header == nil {
			h.Format = base.Format
		}
		if err := w.WriteHeader(h); err != nil {
			panic(fmt.Sprintf("testarchive: %s: %v", h.Name, err))
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if _, err := io.WriteString(w, f.Body); err != nil {
			panic(fmt.Sprintf("testarchive: %s: %v", h.Name, err))
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func (f File) header(stamp time.Time) *tar.Header {
	if f.Header != nil {
		return f.Header
	}
	h := &tar.Header{
		Name: "./" + strings.TrimPrefix(f.Name, "./"), Mode: f.Mode, Uid: f.UID, Gid: f.GID,
		Uname: f.User, Gname: f.Group, ModTime: stamp, Typeflag: tar.TypeReg, Format: tar.FormatGNU,
		Devmajor: f.Major, Devminor: f.Minor,
	}
	if f.User == "" {
		h.Uname = "root"
	}
	if f.Group == "" {
		h.Gname = "root"
	}
	perm := int64(0o644)
	switch {
	case strings.HasSuffix(f.Name, "/"):
		h.Typeflag, perm = tar.TypeDir, 0o755
	case f.Link != "":
		h.Typeflag, h.Linkname, perm = tar.TypeSymlink, f.Link, 0o777
	case f.Hard != "":
		h.Typeflag, h.Linkname = tar.TypeLink, "./"+f.Hard
	case f.Char:
		h.Typeflag = tar.TypeChar
	case f.Block:
		h.Typeflag = tar.TypeBlock
	case f.Fifo:
		h.Typeflag = tar.TypeFifo
	default:
		h.Size = int64(len(f.Body))
		if dir := path.Base(path.Dir(f.Name)); dir == "bin" || dir == "sbin" {
			perm = 0o755
		}
	}
	if h.Mode == 0 {
		h.Mode = perm
	}
	if len(f.Xattrs) > 0 {
		h.Format, h.PAXRecords = tar.FormatPAX, map[string]string{}
		for k, v := range f.Xattrs {
			h.PAXRecords["SCHILY.xattr."+k] = v
		}
	}
	return h
}

func extension(compression string) string {
	switch compression {
	case "none":
		return ""
	case "":
		return ".gz"
	}
	return "." + compression
}

// Compress compresses data: none, gz (or ""), xz, zst, bz2 (by the bzip2 program) or lzma.
func Compress(kind string, data []byte) []byte {
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch kind {
	case "none":
		return data
	case "", "gz":
		return gzipped(data)
	case "xz":
		w, err = xz.WriterConfig{DictCap: 1 << 20}.NewWriter(&b)
	case "zst":
		w, err = zstd.NewWriter(&b)
	case "lzma":
		w, err = lzma.WriterConfig{DictCap: 1 << 20}.NewWriter(&b)
	case "bz2":
		cmd := exec.Command("bzip2", "-c")
		cmd.Stdin, cmd.Stdout = bytes.NewReader(data), &b
		if err := cmd.Run(); err != nil {
			panic(fmt.Sprintf("testarchive: bzip2: %v", err))
		}
		return b.Bytes()
	default:
		panic("testarchive: unknown compression " + kind)
	}
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(fmt.Sprintf("testarchive: %s: %v", kind, err))
	}
	return b.Bytes()
}
