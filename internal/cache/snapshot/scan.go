package snapshot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"path"
	"runtime"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// ScanOptions say how a tree becomes a manifest.
type ScanOptions struct {
	Epoch    int64       // times after it become it (so the zero value makes all 1970)
	Extra    []Entry     // joined to what is on disk, or in its place: device nodes, fifos
	Owners   *Owners     // who owns what, where the disk cannot tell; may be nil
	Workers  int         // 0: as many as processors
	Progress func(int64) // called from one goroutine with the bytes of tar made so far
}

// Scan reads tree once and returns its manifest, and the digest and size of its canonical tar. Nothing
// may write to tree meanwhile. Sockets are left out; device nodes on disk are taken into the manifest.
func Scan(ctx context.Context, tree string, o ScanOptions) (*Manifest, Digest, int64, error) {
	h := sha256.New()
	m, n, err := scan(ctx, tree, o, h)
	if err != nil {
		return nil, "", 0, fmt.Errorf("scan %s: %w", tree, err)
	}
	m.Digest, m.TarSize = Digest(hex.EncodeToString(h.Sum(nil))), n
	return m, m.Digest, n, nil
}

func scan(ctx context.Context, tree string, o ScanOptions, w io.Writer) (*Manifest, int64, error) {
	extra := slices.Clone(o.Extra)
	slices.SortFunc(extra, func(a, b Entry) int { return compare(a.Path, b.Path) })
	p := &producer{epoch: o.Epoch, extra: extra, owners: o.Owners, groups: map[string]uint32{}, links: map[inode]string{}, buf: make([]byte, maxXattr)}
	m := &Manifest{}
	t := &tarWriter{w: w, progress: o.Progress}
	err := run(ctx, workers(o.Workers), func(emit func(*job) error) error {
		p.emit = emit
		if err := walk(tree, p.visit, nil); err != nil {
			return err
		}
		return p.extras("")
	}, func(j *job, each func(func([]byte) error) error) error {
		if err := t.entry(&j.entry, each); err != nil {
			return err // and the sum may not be there
		}
		j.entry.SHA256 = j.sum
		m.Entries = append(m.Entries, j.entry)
		return nil
	})
	if err == nil {
		err = t.end()
	}
	if err == nil {
		err = m.Check()
	}
	return m, t.n, err
}

func workers(n int) int {
	if n > 0 {
		return n
	}
	return runtime.GOMAXPROCS(0)
}

// A producer makes entries of what a walk finds.
type producer struct {
	epoch  int64
	extra  []Entry // not yet sent, in order
	owners *Owners
	links  map[inode]string
	groups map[string]uint32 // of setgid directories, with owners
	emit   func(*job) error
	buf    []byte
}

// extras sends the extra entries that come before path, all if path is empty.
func (p *producer) extras(path string) error {
	for len(p.extra) > 0 && (path == "" || compare(p.extra[0].Path, path) < 0) {
		e := p.extra[0]
		p.extra = p.extra[1:]
		e.MTime = min(max(e.MTime, 0), p.epoch)
		if err := p.emit(&job{entry: e, fd: -1}); err != nil {
			return err
		}
	}
	return nil
}

func (p *producer) visit(f *found) error {
	if err := p.extras(f.path); err != nil {
		return err
	}
	if f.kind() == unix.S_IFSOCK || len(p.extra) > 0 && p.extra[0].Path == f.path && f.fd < 0 {
		return nil
	}
	j := &job{fd: -1, entry: Entry{Path: f.path, Mode: f.mode(), UID: f.st.Uid, GID: f.st.Gid,
		MTime: min(f.seconds(), p.epoch)}}
	if p.owners != nil {
		j.entry.UID, j.entry.GID = p.ownerOf(f)
	}
	if err := p.fill(j, f); err != nil {
		if j.fd >= 0 {
			unix.Close(j.fd)
		}
		return fmt.Errorf("%s: %w", f.path, err)
	}
	if p.owners != nil && f.fd >= 0 {
		j.entry.Xattrs = p.owners.xattrs(f.fd, "", j.entry.Xattrs)
	} else if p.owners != nil && j.entry.Type == TypeFile {
		j.entry.Xattrs = p.owners.xattrs(f.dir, f.name, j.entry.Xattrs)
	}
	return p.emit(j)
}

// ownerOf gives the recorded owner of a file. One whose owner nobody set has the group of a setgid directory that holds
// it, as the kernel would have had it.
func (p *producer) ownerOf(f *found) (uid, gid uint32) {
	dir, name := f.dir, f.name
	if f.fd >= 0 {
		dir, name = f.fd, ""
	}
	uid, gid, ok := p.owners.Of(dir, name)
	if !ok {
		gid = p.groups[path.Dir(f.path)]
	}
	if f.fd >= 0 && f.mode()&unix.S_ISGID != 0 && gid != 0 {
		p.groups[f.path] = gid
	}
	return uid, gid
}

// fill reads what is particular to f's type.
func (p *producer) fill(j *job, f *found) (err error) {
	e := &j.entry
	switch f.kind() {
	case unix.S_IFREG:
		return p.file(j, f)
	case unix.S_IFDIR:
		e.Type = TypeDir
		e.Xattrs, err = readXattrs(f.fd, p.buf)
	case unix.S_IFLNK:
		e.Type = TypeSymlink
		e.Mode = 0777 // some filesystems say otherwise; it means nothing
		n, err := unix.Readlinkat(f.dir, f.name, p.buf)
		if err != nil {
			return fmt.Errorf("read link: %w", err)
		}
		e.Link = string(p.buf[:n])
	case unix.S_IFIFO:
		e.Type = TypeFifo
	case unix.S_IFCHR:
		e.Type, e.Major, e.Minor = TypeChar, f.st.Rdev_major, f.st.Rdev_minor
	case unix.S_IFBLK:
		e.Type, e.Major, e.Minor = TypeBlock, f.st.Rdev_major, f.st.Rdev_minor
	default:
		return fmt.Errorf("unknown file type %o", f.kind())
	}
	return err
}

func (p *producer) file(j *job, f *found) error {
	e := &j.entry
	if f.st.Nlink > 1 {
		if first, ok := p.links[f.inode()]; ok {
			e.Type, e.Link = TypeHardlink, first
			return nil
		}
		p.links[f.inode()] = f.path
	}
	e.Type, e.Size = TypeFile, int64(f.st.Size)
	var err error
	// O_NONBLOCK: had the name become a fifo by now, open must not wait.
	j.fd, err = openat(f.dir, f.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	e.Xattrs, err = readXattrs(j.fd, p.buf)
	return err
}

func openat(dir int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// Verify compares tree with m and returns the differences, a line each, none if it is whole. Device
// nodes and fifos may be m's alone and are not missed. Owners, modes, times and attributes are compared only if root
// asks: another user's disk cannot express them, and m is authoritative.
func (m *Manifest) Verify(ctx context.Context, tree string) ([]string, error) {
	return m.compareWith(ctx, tree, unix.Geteuid() == 0)
}

// VerifyContent is Verify where the disk cannot express owners, modes, times and attributes: they are not compared.
func (m *Manifest) VerifyContent(ctx context.Context, tree string) ([]string, error) {
	return m.compareWith(ctx, tree, false)
}

func (m *Manifest) compareWith(ctx context.Context, tree string, metadata bool) ([]string, error) {
	disk, _, err := scan(ctx, tree, ScanOptions{Epoch: math.MaxInt64}, io.Discard)
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", tree, err)
	}
	return m.diff(disk, metadata), nil
}

// Differences lists what o has otherwise than m, a line each: two manifests of what ought to be one root.
func (m *Manifest) Differences(o *Manifest) []string { return m.diff(o, true) }

// diff merges the two sorted lists.
func (m *Manifest) diff(disk *Manifest, metadata bool) []string {
	var out []string
	a, b := m.Entries, disk.Entries
	for len(a) > 0 || len(b) > 0 {
		c := -1
		if len(a) == 0 {
			c = 1
		} else if len(b) > 0 {
			c = compare(a[0].Path, b[0].Path)
		}
		switch {
		case c < 0:
			if disk.Digest != "" || !a[0].special() { // of a tree, which has no digest yet, that is all right
				out = append(out, "missing "+quote(a[0].Path))
			}
			a = a[1:]
		case c > 0:
			out = append(out, "unexpected "+quote(b[0].Path))
			b = b[1:]
		default:
			if d := a[0].differs(&b[0], metadata); d != "" {
				out = append(out, d+" "+quote(a[0].Path))
			}
			a, b = a[1:], b[1:]
		}
	}
	return out
}

func quote(path string) string { return string(appendEscaped(nil, path)) }

// differs names what two entries of one path do not share, "" if they are alike.
func (e *Entry) differs(o *Entry, metadata bool) string {
	switch {
	case e.Type != o.Type:
		return fmt.Sprintf("type %c, not %c:", o.Type, e.Type)
	case e.Link != o.Link:
		return "link to " + strconv.Quote(o.Link) + ":"
	case e.Size != o.Size:
		return fmt.Sprintf("size %d, not %d:", o.Size, e.Size)
	case e.SHA256 != o.SHA256:
		return "content"
	case e.Major != o.Major || e.Minor != o.Minor:
		return fmt.Sprintf("device %d,%d, not %d,%d:", o.Major, o.Minor, e.Major, e.Minor)
	case !metadata:
	case e.UID != o.UID || e.GID != o.GID:
		return fmt.Sprintf("owner %d:%d, not %d:%d:", o.UID, o.GID, e.UID, e.GID)
	case e.Mode != o.Mode:
		return fmt.Sprintf("mode %04o, not %04o:", o.Mode, e.Mode)
	case e.MTime != o.MTime:
		return fmt.Sprintf("time %d, not %d:", o.MTime, e.MTime)
	case e.Type != TypeHardlink && !sameXattrs(e.Xattrs, o.Xattrs):
		return "attributes"
	}
	return ""
}

func sameXattrs(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || v != w {
			return false
		}
	}
	return true
}
