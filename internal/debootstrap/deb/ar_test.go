package deb

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// entry is an ar member as written by makeAr.
type entry struct {
	name string
	body string
}

func makeAr(entries ...entry) []byte {
	var b bytes.Buffer
	b.WriteString(arMagic)
	for _, e := range entries {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8o%-10d`\n%s", e.name, 0, 0, 0, 0o100644, len(e.body), e.body)
		if len(e.body)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

func open(b []byte) (*Reader, error) { return Open(bytes.NewReader(b), int64(len(b))) }

func TestOpen(t *testing.T) {
	good := []entry{{"debian-binary", "2.0\n"}, {"control.tar", ""}, {"data.tar.xz", "abc"}}
	for summary, b := range map[string][]byte{
		"plain":             makeAr(good...),
		"names with slash":  makeAr(entry{"debian-binary/", "2.0\n"}, entry{"control.tar.gz/", "x"}, entry{"data.tar/", ""}),
		"no last pad":       bytes.TrimSuffix(makeAr(good...), []byte("\n")),
		"signature last":    makeAr(append(good, entry{"_gpgorigin", "x"})...),
		"skippable between": makeAr(good[0], entry{"_x", "1"}, good[1], entry{"_y", "12"}, good[2]),
		"anything last":     makeAr(append(good, entry{"extra", "x"})...),
		"format 2.1":        makeAr(entry{"debian-binary", "2.1\nmore"}, good[1], good[2]),
	} {
		if _, err := open(b); err != nil {
			t.Errorf("%s: %v", summary, err)
		}
	}
	whole := makeAr(good...)
	for summary, b := range map[string][]byte{
		"empty":             nil,
		"magic alone":       []byte(arMagic),
		"wrong magic":       []byte("!<arch>\r" + string(whole[8:])),
		"cut in a header":   whole[:90],
		"cut in a member":   whole[:len(whole)-2],
		"rubbish at end":    append(bytes.Clone(whole), "x"...),
		"wrong end mark":    bytes.Replace(whole, []byte("`\n"), []byte("`\r"), 1),
		"negative size":     bytes.Replace(whole, []byte("4         `"), []byte("-4        `"), 1),
		"size with letters": bytes.Replace(whole, []byte("4         `"), []byte("4x        `"), 1),
		"size with gap":     bytes.Replace(whole, []byte("4         `"), []byte("4 0       `"), 1),
		"no size":           bytes.Replace(whole, []byte("4         `"), []byte("          `"), 1),
		"no version":        makeAr(good[1:]...),
		"format 3":          makeAr(entry{"debian-binary", "3.0\n"}, good[1], good[2]),
		"format 2.x":        makeAr(entry{"debian-binary", "2.x\n"}, good[1], good[2]),
		"format unended":    makeAr(entry{"debian-binary", "2.00"}, good[1], good[2]),
		"no control":        makeAr(good[0], good[2]),
		"no data":           makeAr(good[0], good[1]),
		"data first":        makeAr(good[0], good[2], good[1]),
		"two controls":      makeAr(good[0], good[1], good[1], good[2]),
		"two data":          makeAr(good[0], good[1], good[2], good[2]),
		"unknown between":   makeAr(good[0], entry{"extra", ""}, good[1], good[2]),
		"name with a path":  makeAr(good[0], good[1], good[2], entry{"../x", ""}),
		"no name":           makeAr(good[0], good[1], good[2], entry{"/", ""}),
		"too many":          append(bytes.Clone(whole), strings.Repeat(string(makeAr(entry{"_x", ""})[8:]), 70)...),
	} {
		if _, err := open(b); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", summary, err)
		}
	}
}
