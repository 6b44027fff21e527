package snapshot

import (
	"sort"
	"strconv"
	"strings"
)

const block = 512

var zeros [2 * block]byte

// A headerWriter makes the canonical tar's headers. archive/tar is not used for writing: which records
// and prefixes it picks is its own business and may change with the toolchain, and these bytes are an
// identity. archive/tar and GNU tar read the result in the tests.
type headerWriter struct{ buf []byte }

// header returns e's header blocks, the PAX records first where needed. The slice is good until the
// next call.
func (w *headerWriter) header(e *Entry) []byte {
	w.buf = w.buf[:0]
	name, flag := "./"+e.Path, byte('0')
	if e.Path == "." {
		name = "."
	}
	link := ""
	switch e.Type {
	case TypeDir:
		name, flag = name+"/", '5'
	case TypeSymlink:
		link, flag = e.Link, '2'
	case TypeHardlink:
		link, flag = "./"+e.Link, '1'
	case TypeChar:
		flag = '3'
	case TypeBlock:
		flag = '4'
	case TypeFifo:
		flag = '6'
	}
	if records := paxRecords(e, name, link); len(records) > 0 {
		// Python's name for it: an unaware tar writes one odd file and does not overwrite another.
		w.append("././@PaxHeader", "", 'x', &Entry{Mode: 0644, Size: int64(len(records))})
		w.buf = append(w.buf, records...)
		w.buf = append(w.buf, zeros[:pad(int64(len(records)))]...)
	}
	w.append(name, link, flag, e)
	return w.buf
}

// append adds one ustar header. What does not fit is cut (names) or zero (numbers): a PAX record has it.
func (w *headerWriter) append(name, link string, flag byte, e *Entry) {
	start := len(w.buf)
	w.buf = append(w.buf, zeros[:block]...)
	h := w.buf[start:]
	copy(h[0:100], name)
	octal(h[100:108], int64(e.Mode))
	octal(h[108:116], int64(e.UID))
	octal(h[116:124], int64(e.GID))
	octal(h[124:136], e.Size)
	octal(h[136:148], e.MTime)
	h[156] = flag
	copy(h[157:257], link)
	copy(h[257:265], "ustar\x0000")
	octal(h[329:337], int64(e.Major))
	octal(h[337:345], int64(e.Minor))
	copy(h[148:156], "        ")
	sum := int64(0)
	for _, b := range h {
		sum += int64(b)
	}
	octal(h[148:155], sum)
}

// octal fills field with v in octal digits and a NUL, or with 0 if it does not fit.
func octal(field []byte, v int64) {
	if !fits(v, len(field)-1) {
		v = 0
	}
	for i := len(field) - 2; i >= 0; i-- {
		field[i] = '0' + byte(v&7)
		v >>= 3
	}
	field[len(field)-1] = 0
}

func fits(v int64, digits int) bool { return v>>(3*digits) == 0 }

// pad is the number of NULs after n bytes of content.
func pad(n int64) int64 { return -n & (block - 1) }

// paxRecords returns e's extended header, its records in bytewise order of their keys. Names are
// written as they are, UTF-8 or not, and so are those in the ustar header: every reader on Unix gives
// the same bytes back.
func paxRecords(e *Entry, name, link string) []byte {
	if len(name) <= 100 && len(link) <= 100 && len(e.Xattrs) == 0 && fits(int64(e.UID|e.GID), 7) &&
		fits(e.Size, 11) && fits(e.MTime, 11) {
		return nil // nearly always
	}
	var keys []string
	values := map[string]string{}
	add := func(key, value string) {
		keys = append(keys, key)
		values[key] = value
	}
	if len(name) > 100 {
		add("path", name)
	}
	if len(link) > 100 {
		add("linkpath", link)
	}
	number := func(key string, v int64, digits int) {
		if !fits(v, digits) {
			add(key, strconv.FormatInt(v, 10))
		}
	}
	number("uid", int64(e.UID), 7)
	number("gid", int64(e.GID), 7)
	number("size", e.Size, 11)
	number("mtime", e.MTime, 11)
	for name, value := range e.Xattrs {
		add("SCHILY.xattr."+encodeXattr(name), value)
	}
	sort.Strings(keys)
	var out []byte
	for _, k := range keys {
		out = appendRecord(out, k, values[k])
	}
	return out
}

// encodeXattr writes the two bytes that would end or confuse a record's key as GNU tar does.
func encodeXattr(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(name, "%", "%25"), "=", "%3D")
}

// appendRecord adds "LENGTH key=value\n", LENGTH counting its own digits.
func appendRecord(out []byte, key, value string) []byte {
	n := len(key) + len(value) + 3
	length := n + len(strconv.Itoa(n))
	if len(strconv.Itoa(length)) != len(strconv.Itoa(n)) {
		length = n + len(strconv.Itoa(length))
	}
	out = strconv.AppendInt(out, int64(length), 10)
	out = append(out, ' ')
	out = append(out, key...)
	out = append(out, '=')
	out = append(out, value...)
	return append(out, '\n')
}
