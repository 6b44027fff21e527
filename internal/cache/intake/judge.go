package intake

import (
	"archive/tar"
	"net/url"
	"strings"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

const xattrRecord = "SCHILY.xattr."

var ( // as GNU tar writes what would end the name
	xattrName   = strings.NewReplacer("%3D", "=", "%25", "%")
	xattrEncode = strings.NewReplacer("%", "%25", "=", "%3D")
)

// judge makes an Entry of a header, without digest. ok is false for what is passed over.
func (u *Unpacker) judge(h *tar.Header) (e snapshot.Entry, ok bool, err error) {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return e, false, checkGlobal(h)
	}
	if e.Path, err = clean(h.Name); err != nil {
		return e, false, err
	}
	if h.Uid < 0 || h.Gid < 0 || h.Uid >= 1<<32-1 || h.Gid >= 1<<32-1 { // the last one means "leave it" to chown
		return e, false, refuse("%d:%d is no owner", h.Uid, h.Gid)
	}
	e.UID, e.GID, e.Mode = uint32(h.Uid), uint32(h.Gid), uint32(h.Mode)&0o7777
	e.MTime = min(max(h.ModTime.Unix(), 0), lastSecond) // the last that ext4 has, in 2446
	if err := u.judgeType(&e, h); err != nil {
		return e, false, err
	}
	if e.Type == snapshot.TypeFile || e.Type == snapshot.TypeDir {
		u.judgeXattrs(&e, h.PAXRecords)
	}
	if err := snapshot.CheckEntry(&e); err != nil {
		return e, false, refuse("%v", err)
	}
	if e.Path == "." && e.Type != snapshot.TypeDir {
		return e, false, refuse("the root is no directory")
	}
	return e, true, nil
}

func (u *Unpacker) judgeType(e *snapshot.Entry, h *tar.Header) (err error) {
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		e.Type, e.Size = snapshot.TypeFile, h.Size
		if strings.HasSuffix(h.Name, "/") {
			return refuse("a file whose name ends in a slash")
		}
	case tar.TypeDir:
		e.Type = snapshot.TypeDir
	case tar.TypeSymlink:
		e.Type, e.Link, e.Mode = snapshot.TypeSymlink, h.Linkname, 0o777
	case tar.TypeLink:
		e.Type = snapshot.TypeHardlink
		if e.Link, err = clean(h.Linkname); err != nil {
			return refuse("it is a hardlink to %s: %v", quoted(h.Linkname), err)
		}
	case tar.TypeFifo:
		e.Type = snapshot.TypeFifo
	case tar.TypeChar, tar.TypeBlock:
		e.Type = snapshot.TypeChar
		if h.Typeflag == tar.TypeBlock {
			e.Type = snapshot.TypeBlock
		}
		if h.Devmajor < 0 || h.Devminor < 0 || h.Devmajor >= 1<<12 || h.Devminor >= 1<<20 {
			return refuse("Linux has no device %d:%d", h.Devmajor, h.Devminor)
		}
		e.Major, e.Minor = uint32(h.Devmajor), uint32(h.Devminor)
	default:
		return refuse("its type %q is none of a root's", h.Typeflag)
	}
	return nil
}

func (u *Unpacker) judgeXattrs(e *snapshot.Entry, records map[string]string) {
	for key, value := range records {
		name, ok := strings.CutPrefix(key, xattrRecord)
		switch {
		case ok:
			name = xattrName.Replace(name)
			if !snapshot.KeepXattr(name) {
				u.dropped["attribute "+name]++
				continue
			}
			if e.Xattrs == nil {
				e.Xattrs = map[string]string{}
			}
			e.Xattrs[name] = snapshot.CanonicalXattr(name, value)
		case strings.HasPrefix(key, "SCHILY.acl."):
			u.dropped["access list in words"]++
		case strings.HasPrefix(key, "LIBARCHIVE.xattr."): // bsdtar writes each attribute a second time, as SCHILY.xattr
			if name := key[len("LIBARCHIVE.xattr."):]; !hasXattr(records, name) {
				u.dropped["attribute in libarchive's form"]++
			}
		}
	}
}

// hasXattr reports whether records have the attribute of a LIBARCHIVE.xattr record, which URL-encodes its name, in the form
// that is read.
func hasXattr(records map[string]string, encoded string) bool {
	name, err := url.PathUnescape(encoded)
	if err != nil {
		return false
	}
	_, ok := records[xattrRecord+name]
	if !ok {
		_, ok = records[xattrRecord+xattrEncode.Replace(name)]
	}
	return ok
}

// checkGlobal looks at a header that speaks of all entries to come. Git writes one with a comment. What would change
// them is refused: readers differ in what they make of it.
func checkGlobal(h *tar.Header) error {
	for key := range h.PAXRecords {
		switch {
		case key == "path", key == "linkpath", key == "size", key == "uid", key == "gid", key == "mtime",
			strings.HasPrefix(key, "GNU."), strings.HasPrefix(key, "SCHILY."), strings.HasPrefix(key, "LIBARCHIVE."):
			return refuse("a header for all entries sets their %s", key)
		}
	}
	return nil
}
