package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func text(t testing.TB, m *Manifest) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := m.Encode(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// signed adds the last line to a manifest's body.
func signed(body string) []byte { return []byte(body + "sha256 " + string(Sum([]byte(body))) + "\n") }

func TestTextRoundTrip(t *testing.T) {
	tree := oddTree(t)
	m, _ := scanned(t, tree, devices)
	b := text(t, m)
	for _, c := range b {
		if c != '\n' && (c < ' ' || c > '~') {
			t.Fatalf("byte %q in the text", c)
		}
	}
	if n := bytes.Count(b, []byte("\n")); n != len(m.Entries)+2 {
		t.Errorf("%d lines for %d entries", n, len(m.Entries))
	}
	m2, err := ReadManifest(bytes.NewReader(b))
	must(t, err)
	if diff := cmp.Diff(m, m2); diff != "" {
		t.Error(diff)
	}
	head, n, err := ReadHead(bytes.NewReader(b))
	must(t, err)
	if head.Digest != m.Digest || head.TarSize != m.TarSize || n != len(m.Entries) {
		t.Errorf("head %+v %d", head, n)
	}
}

func TestTextGolden(t *testing.T) {
	m := &Manifest{TarSize: 10240, Entries: []Entry{
		{Path: ".", Type: TypeDir, Mode: 0o755, MTime: 7},
		{Path: "a b", Type: TypeFile, Mode: 0o4755, UID: 3000000, GID: 1, MTime: 9, SHA256: Sum(nil),
			Xattrs: map[string]string{"user.z": "\x00", "user.a=b": "x"}},
		{Path: "dev", Type: TypeDir, Mode: 0o755},
		{Path: "dev/null", Type: TypeChar, Mode: 0o666, Major: 1, Minor: 3},
		{Path: "h", Type: TypeHardlink, Mode: 0o4755, Link: "a b"},
		{Path: "l", Type: TypeSymlink, Mode: 0o777, Link: "../\xff\\"},
		{Path: "p", Type: TypeFifo, Mode: 0o600},
	}}
	want := signed(fmt.Sprintf(`rootctl-mtree 1 - 10240 7
d 0755 0 0 7 .
f 4755 3000000 1 9 a\040b 0 %s user.a\075b=eA== user.z=AA==
d 0755 0 0 0 dev
c 0666 0 0 0 dev/null 1:3
h 4755 0 0 0 h a\040b
l 0777 0 0 0 l ../\377\134
p 0600 0 0 0 p
`, Sum(nil)))
	if diff := cmp.Diff(string(want), string(text(t, m))); diff != "" {
		t.Error(diff)
	}
	m2, err := ReadManifest(bytes.NewReader(want))
	must(t, err)
	if diff := cmp.Diff(m, m2); diff != "" {
		t.Error(diff)
	}
}

func TestBadManifests(t *testing.T) {
	sum := string(Sum(nil))
	root := "d 0755 0 0 0 .\n"
	for summary, lines := range map[string]string{
		"no root":              "f 0644 0 0 0 a 0 " + sum + "\n",
		"root is a file":       "f 0644 0 0 0 . 0 " + sum + "\n",
		"upwards":              root + "d 0755 0 0 0 ..\n",
		"upwards inside":       root + "d 0755 0 0 0 a\nd 0755 0 0 0 a/../b\n",
		"absolute":             root + "d 0755 0 0 0 /a\n",
		"dot":                  root + "d 0755 0 0 0 ./a\n",
		"slash at end":         root + "d 0755 0 0 0 a/\n",
		"double slash":         root + "d 0755 0 0 0 a\nd 0755 0 0 0 a//b\n",
		"NUL":                  root + "d 0755 0 0 0 a\\000\n",
		"long name":            root + "d 0755 0 0 0 " + strings.Repeat("n", 256) + "\n",
		"long path":            root + "d 0755 0 0 0 " + strings.Repeat("n/", 2100) + "\n",
		"twice":                root + "d 0755 0 0 0 a\nd 0755 0 0 0 a\n",
		"order":                root + "d 0755 0 0 0 b\nd 0755 0 0 0 a\n",
		"order of a.b":         root + "d 0755 0 0 0 a\nd 0755 0 0 0 a.b\nd 0755 0 0 0 a/x\n",
		"no parent":            root + "d 0755 0 0 0 a/b\n",
		"through a symlink":    root + "l 0777 0 0 0 a /etc\nf 0644 0 0 0 a/passwd 0 " + sum + "\n",
		"through a file":       root + "f 0644 0 0 0 a 0 " + sum + "\nd 0755 0 0 0 a/b\n",
		"hardlink out":         root + "h 0644 0 0 0 a ../../etc/passwd\n",
		"hardlink to later":    root + "h 0644 0 0 0 a b\nf 0644 0 0 0 b 0 " + sum + "\n",
		"hardlink to symlink":  root + "l 0777 0 0 0 a x\nh 0644 0 0 0 b a\n",
		"hardlink with xattr":  root + "f 0644 0 0 0 a 0 " + sum + "\nh 0644 0 0 0 b a user.x=AA==\n",
		"whiteout":             root + "c 0000 0 0 0 a 0:0\n",
		"device numbers":       root + "c 0644 0 0 0 a 1:2097152\n",
		"device without":       root + "c 0644 0 0 0 a\n",
		"empty link":           root + "l 0777 0 0 0 a \n",
		"type":                 root + "s 0644 0 0 0 a\n",
		"mode":                 root + "d 10755 0 0 0 a\n",
		"mode digits":          root + "d 755 0 0 0 a\n",
		"uid":                  root + "d 0755 4294967296 0 0 a\n",
		"negative":             root + "d 0755 0 0 -1 a\n",
		"leading zero":         root + "d 0755 00 0 0 a\n",
		"plus":                 root + "d 0755 +0 0 0 a\n",
		"digest":               root + "f 0644 0 0 0 a 0 " + sum[1:] + "\n",
		"upper-case digest":    root + "f 0644 0 0 0 a 0 " + strings.ToUpper(sum) + "\n",
		"size too large":       root + "f 0644 0 0 0 a 99999999999999999 " + sum + "\n",
		"field too many":       root + "d 0755 0 0 0 a b\n",
		"two spaces":           root + "d  0755 0 0 0 a\n",
		"needless escape":      root + "d 0755 0 0 0 \\141\n",
		"escape cut":           root + "d 0755 0 0 0 a\\04\n",
		"escape too large":     root + "d 0755 0 0 0 a\\400\n",
		"raw byte":             root + "d 0755 0 0 0 \xff\n",
		"raw =":                root + "d 0755 0 0 0 a=b\n",
		"attribute":            root + "d 0755 0 0 0 a trusted.overlay.opaque=eQ==\n",
		"attribute twice":      root + "d 0755 0 0 0 a user.x=AA== user.x=AA==\n",
		"attributes' order":    root + "d 0755 0 0 0 a user.y=AA== user.x=AA==\n",
		"base64 bits":          root + "d 0755 0 0 0 a user.x=AB==\n",
		"empty line":           root + "\n",
		"carriage return":      root + "d 0755 0 0 0 a\r\n",
		"last line has no end": root + "d 0755 0 0 0 a",
	} {
		body := fmt.Sprintf("%s - 0 %d\n%s", magic, strings.Count(lines, "\n"), lines)
		var bad *DamagedError
		if _, err := ReadManifest(bytes.NewReader(signed(body))); !errors.As(err, &bad) {
			t.Errorf("%s: %v", summary, err)
		}
	}
	good := fmt.Sprintf("%s - 0 1\n%s", magic, root)
	if _, err := ReadManifest(bytes.NewReader(signed(good))); err != nil {
		t.Errorf("the smallest: %v", err)
	}
	for summary, b := range map[string][]byte{
		"empty":       nil,
		"no checksum": []byte(good),
		"more after":  append(signed(good), '\n'),
		"newer":       signed(strings.Replace(good, "mtree 1", "mtree 2", 1)),
		"count":       signed(strings.Replace(good, " 1\n", " 2\n", 1)),
	} {
		var bad *DamagedError
		if _, err := ReadManifest(bytes.NewReader(b)); !errors.As(err, &bad) {
			t.Errorf("%s: %v", summary, err)
		}
	}
}

// What is read is written again as the same text: there is one text for a manifest.
func FuzzReadManifest(f *testing.F) {
	f.Add("d 0755 0 0 7 .\nf 4755 3000000 1 9 a\\040b 0 " + string(Sum(nil)) + " user.a\\075b=eA==\n")
	f.Add("d 0755 0 0 0 .\nd 0755 0 0 0 dev\nc 0666 0 0 0 dev/null 1:3\nl 0777 0 0 0 l ../\\377\np 0600 0 0 0 p\n")
	f.Fuzz(func(t *testing.T, lines string) {
		in := signed(fmt.Sprintf("%s - 0 %d\n%s", magic, strings.Count(lines, "\n"), lines))
		m, err := ReadManifest(bytes.NewReader(in))
		if err != nil {
			return
		}
		if out := text(t, m); !bytes.Equal(in, out) {
			t.Errorf("read\n%s\nwrote\n%s", in, out)
		}
	})
}

// Order is that of walking: names bytewise in each directory, a directory before what is in it.
func FuzzCompare(f *testing.F) {
	f.Add("a/x", "a.b")
	f.Add("a", "a/b")
	f.Add(".", "\x01")
	f.Fuzz(func(t *testing.T, a, b string) {
		if checkPath(a) != nil || checkPath(b) != nil {
			return
		}
		key := func(p string) []string {
			if p == "." {
				return nil
			}
			return strings.Split(p, "/")
		}
		x, y := key(a), key(b)
		want := 0
		for i := 0; want == 0 && (i < len(x) || i < len(y)); i++ {
			switch {
			case i >= len(x):
				want = -1
			case i >= len(y):
				want = 1
			default:
				want = strings.Compare(x[i], y[i])
			}
		}
		if got := compare(a, b); got < 0 != (want < 0) || got > 0 != (want > 0) {
			t.Errorf("compare(%q, %q) = %d, want %d", a, b, got, want)
		}
	})
}

func TestDigest(t *testing.T) {
	d := Sum([]byte("x"))
	for _, s := range []string{string(d), "sha256:" + string(d)} {
		if got, err := ParseDigest(s); got != d || err != nil {
			t.Errorf("%s: %s %v", s, got, err)
		}
	}
	for _, s := range []string{"", string(d[1:]), "../" + string(d[3:]), strings.ToUpper(string(d)), "sha512:" + string(d), string(d) + "0"} {
		if _, err := ParseDigest(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}

func TestMain(m *testing.M) {
	if os.Getenv("ROOTCTL_SNAPSHOT_TEST") == "mounted" {
		mountedTask()
	}
	os.Exit(m.Run())
}
