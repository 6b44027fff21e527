package pgp

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// newWeak makes a certificate with an RSA key shorter than NewEntity would make.
func newWeak() (person, error) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		return person{}, err
	}
	private := packet.NewRSAPrivateKey(past, small)
	e := &openpgp.Entity{PrimaryKey: &private.PublicKey, PrivateKey: private, Identities: map[string]*openpgp.Identity{}}
	id := packet.NewUserId("weak", "", "")
	self := &packet.Signature{Version: 4, SigType: packet.SigTypePositiveCert, PubKeyAlgo: private.PubKeyAlgo, Hash: 5, CreationTime: past,
		IssuerKeyId: &private.KeyId, FlagsValid: true, FlagSign: true, FlagCertify: true}
	if err := self.SignUserId(id.Id, e.PrimaryKey, private, nil); err != nil {
		return person{}, err
	}
	e.Identities[id.Id] = &openpgp.Identity{Primary: e, Name: id.Id, UserId: id, SelfCertifications: []*packet.VerifiableSignature{packet.NewVerifiableSig(self)}}
	return person{e}, nil
}

// crc is the armor checksum.
func crc(data []byte) string {
	sum := uint32(0xb704ce)
	for _, b := range data {
		sum ^= uint32(b) << 16
		for range 8 {
			sum <<= 1
			if sum>>24&1 == 1 {
				sum ^= 0x1864cfb
			}
		}
	}
	return base64.StdEncoding.EncodeToString([]byte{byte(sum >> 16), byte(sum >> 8), byte(sum)})
}

// TestFrame tries every way to smuggle unsigned text past the frame, and what is harmless.
func TestFrame(t *testing.T) {
	p := newPerson(t, "p", born{})
	k := keyring(t, p)
	msg := string(clear(t, text, pen{}, p))
	replace := func(old, new string) string {
		if !strings.Contains(msg, old) {
			t.Fatalf("%q is not there", old)
		}
		return strings.Replace(msg, old, new, 1)
	}
	for summary, c := range map[string]struct {
		msg string
		ok  bool
	}{
		"as made":                   {msg, true},
		"CR LF throughout":          {strings.ReplaceAll(msg, "\n", "\r\n"), true},
		"blanks at line ends":       {replace("bionic\n", "bionic \t \n"), true},
		"blank line with blanks":    {replace("bionic\n\n", "bionic\n  \n"), true},
		"escaped line":              {replace("Suite", "- Suite"), true},
		"two Hash headers":          {replace("Hash: SHA256\n", "Hash: SHA1, SHA512\nHash: ,SHA256\n"), true},
		"digest not announced":      {replace("Hash: SHA256\n", ""), false},
		"unknown digest":            {replace("Hash: SHA256\n", "Hash: SHA256, bionic\n"), false},
		"empty lines after":         {msg + "\n \r\n", true},
		"comment in the armor":      {replace("-----BEGIN PGP SIGNATURE-----\n", "-----BEGIN PGP SIGNATURE-----\nComment: x\n"), true},
		"text before":               {"x\n" + msg, false},
		"empty line before":         {"\n" + msg, false},
		"text after":                {msg + "x\n", false},
		"second message":            {msg + msg, false},
		"second signature":          {msg + armored("PGP SIGNATURE", signatures(t, []byte(msg))), false},
		"other header":              {replace("Hash: SHA256\n", "Suite: sid\n"), false},
		"NotDashEscaped":            {replace("Hash: SHA256\n", "NotDashEscaped: GnuPG\n"), false},
		"Hash with text":            {replace("Hash: SHA256\n", "Hash: SHA256:\n"), false},
		"blank separator":           {replace("SHA512\n\n", "SHA512\n \n"), false},
		"no separator":              {replace("SHA512\n\n", "SHA512\n"), false},
		"line added":                {replace("Suite", "x\nSuite"), false},
		"line removed":              {replace("Suite: bionic\n", ""), false},
		"empty line added at end":   {replace("now\n", "now\n\n"), false},
		"empty line added at start": {replace("Origin", "\nOrigin"), false},
		"unescaped dash":            {replace("Suite", "-Suite"), false},
		"lone dash":                 {replace("bionic\n", "bionic\n-\n"), false},
		"nested begin":              {replace("Suite", "-----BEGIN PGP SIGNED MESSAGE-----\nSuite"), false},
		"carriage return inside":    {replace("bionic", "bio\rnic"), false},
		"vertical tab at line end":  {replace("bionic", "bionic\v"), false},
		"not cut at NUL":            {replace("bionic", "bionic\x00"), false},
		"no end":                    {strings.TrimSuffix(msg, "-----END PGP SIGNATURE-----\n"), false},
		"no signature":              {msg[:strings.Index(msg, "-----BEGIN PGP SIGNATURE")], false},
		"other block":               {strings.ReplaceAll(msg, "PGP SIGNATURE", "PGP MESSAGE"), false},
		"empty":                     {"", false},
		"text alone":                {text, false},
		"too large":                 {replace("Suite", strings.Repeat("x", maxMessage)), false},
	} {
		body, _, err := k.Cleartext([]byte(c.msg), Options{Now: today})
		switch {
		case !c.ok:
			wants(t, err)
			if err == nil {
				t.Errorf("%s passed", summary)
			}
		case err != nil || string(body) != text:
			t.Errorf("%s: %v %q", summary, err, body)
		}
	}
	for summary, body := range map[string]string{"empty": "\n", "one line": "x\n", "ends in empty lines": "x\n\n\n"} {
		got, _, err := k.Cleartext(clear(t, body, pen{}, p), Options{Now: today})
		if err != nil || string(got) != body {
			t.Errorf("%s: %v %q", summary, err, got)
		}
	}
}

// TestGpgSigns verifies what gpg itself signs, dashes and blanks included.
func TestGpgSigns(t *testing.T) {
	if _, err := exec.LookPath("gpg"); err != nil {
		t.Skip("needs gpg: it signs what is verified here")
	}
	home := t.TempDir()
	gpg := func(stdin string, args ...string) []byte {
		t.Helper()
		cmd := exec.Command("gpg", append([]string{"--homedir", home, "--batch", "--quiet", "--passphrase", "", "--pinentry-mode", "loopback"}, args...)...)
		cmd.Stdin = strings.NewReader(stdin)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("gpg %v: %v\n%s", args, err, stderr.Bytes())
		}
		return out
	}
	t.Cleanup(func() { exec.Command("gpgconf", "--homedir", home, "--kill", "gpg-agent").Run() })
	for _, algorithm := range []string{"ed25519", "rsa2048", "nistp256"} {
		gpg("", "--faked-system-time", "20200101T000000", "--quick-generate-key", algorithm, algorithm, "sign", "never")
		k, err := ReadKeyring(gpg("", "--armor", "--export", algorithm))
		if err != nil {
			t.Fatal(err)
		}
		body := "- a\n-----BEGIN PGP SIGNED MESSAGE-----\n\nFrom me  \nx\t\n-\n"
		signed := gpg(body, "--digest-algo", "SHA512", "-u", algorithm, "--clearsign")
		want := "- a\n-----BEGIN PGP SIGNED MESSAGE-----\n\nFrom me\nx\n-\n"
		if got, _, err := k.Cleartext(signed, Options{Now: today}); err != nil || string(got) != want {
			t.Errorf("%s: %v %q", algorithm, err, got)
		}
		for _, args := range [][]string{{"--detach-sign"}, {"--armor", "--detach-sign"}, {"--textmode", "--detach-sign"}} {
			sig := gpg(body, append([]string{"--digest-algo", "SHA256", "-u", algorithm}, args...)...)
			if _, err := k.Detached([]byte(body), sig, Options{Now: today}); err != nil {
				t.Errorf("%s %v: %v", algorithm, args, err)
			}
		}
	}
}

// agree checks that whatever we accept, gpgv accepts with the same text.
func agree(t *testing.T, k *Keyring, g guard, msg []byte) {
	t.Helper()
	body, _, err := k.Cleartext(msg, Options{Now: today})
	if err != nil {
		return
	}
	want, status, good := g.cleartext(t, msg)
	if !good || !bytes.Equal(trimLines(want), body) {
		t.Fatalf("accepted %q\nas %q\ngpgv: %s%q", msg, body, status, want)
	}
}

// trimLines drops what no signature covers; gpgv leaves that in its output.
func trimLines(b []byte) []byte {
	var out []byte
	for line := range bytes.Lines(b) {
		out = append(append(out, bytes.TrimRight(line, " \t\r\n")...), '\n')
	}
	return out
}

func TestFrameAgainstGpgv(t *testing.T) {
	p := newPerson(t, "p", born{})
	g, k := newGuard(t, p.certificate(t)), keyring(t, p)
	msg := string(clear(t, text, pen{}, p))
	if body, status, good := g.cleartext(t, []byte(msg)); !good || string(body) != text {
		t.Fatalf("gpgv refuses what is good: %s%q", status, body)
	}
	for _, change := range []string{"", " ", "\t", "\r", " \r", "\v", "\f", "\x00", "\u00a0", "\x1a", "\n", "\n\n", "- ", "-", "\n- ", "\n-", "\r\n- x", "\n-----"} {
		for _, at := range []string{"bionic", "Suite", "Origin", "now", "\n\n", "Hash", "SHA256", "-----\n", "-----BEGIN PGP SIGNATURE"} {
			for _, changed := range []string{strings.Replace(msg, at, at+change, 1), strings.Replace(msg, at, change+at, 1)} {
				agree(t, k, g, []byte(changed))
			}
		}
	}
}

func FuzzCleartext(f *testing.F) {
	p := newPerson(f, "p", born{})
	g, k := newGuard(f, p.certificate(f)), keyring(f, p)
	msg := clear(f, text, pen{}, p)
	head, tail, _ := bytes.Cut(msg, []byte("-----BEGIN PGP SIGNATURE"))
	f.Add(string(head), "", "")
	f.Add(strings.ReplaceAll(string(head), "\n", " \r\n"), "\n", "\n")
	f.Add("-----BEGIN PGP SIGNED MESSAGE-----\n\n- Origin: Test\n", "Version: 1\n", "x")
	// The signature stays good, so that the frame around it is what is tried.
	f.Fuzz(func(t *testing.T, head, header, after string) {
		changed := head + strings.Replace("-----BEGIN PGP SIGNATURE"+string(tail), "\n", "\n"+header, 1) + after
		agree(t, k, g, []byte(changed))
	})
}

func FuzzSignaturePackets(f *testing.F) {
	p := newPerson(f, "p", born{})
	k := keyring(f, p)
	f.Add(p.sign(f, []byte(text), pen{}))
	f.Add(p.sign(f, []byte("other"), pen{}))
	f.Fuzz(func(t *testing.T, sig []byte) {
		sigs, err := k.Detached([]byte(text), sig, Options{Now: today})
		if (err == nil) != (len(sigs) > 0) {
			t.Fatal(err, sigs)
		}
	})
}

func FuzzReadKeyring(f *testing.F) {
	p := newPerson(f, "p", born{days: 10})
	p.addSigningKey(f, born{at: past})
	f.Add(p.certificate(f))
	f.Add([]byte(armored("PGP PUBLIC KEY BLOCK", p.certificate(f))))
	msg := clear(f, text, pen{}, p)
	f.Fuzz(func(t *testing.T, file []byte) {
		k, err := ReadKeyring(file)
		if err != nil {
			return
		}
		if _, _, err := k.Cleartext(msg, Options{Now: today}); err == nil {
			t.Fatal("a changed certificate made an expired key good")
		}
	})
}

// TestHostKeyrings reads every archive keyring of this machine.
func TestHostKeyrings(t *testing.T) {
	files, _ := filepath.Glob("/usr/share/keyrings/*-archive-*.gpg")
	if len(files) == 0 {
		t.Skip("needs archive keyrings: install debian-archive-keyring or ubuntu-keyring")
	}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		k, err := ReadKeyring(b)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		for _, keys := range k.keys {
			for _, key := range keys {
				if key.signer == "" {
					t.Errorf("%s: key %X: %s", path, key.public.Fingerprint, key.problem)
				}
			}
		}
	}
}
