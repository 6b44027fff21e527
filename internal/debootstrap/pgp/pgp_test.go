package pgp

import (
	"bytes"
	"crypto"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

const text = "Origin: Test\nSuite: bionic\n\nDate: now\n"

// wants checks for an *Untrusted error with each of the words in its reasons.
func wants(t *testing.T, err error, words ...string) {
	t.Helper()
	var u *Untrusted
	if !errors.As(err, &u) {
		t.Errorf("error %v, want *Untrusted", err)
		return
	}
	for _, w := range words {
		if !strings.Contains(strings.Join(u.Reasons, "\n"), w) {
			t.Errorf("reasons %q, want %q", u.Reasons, w)
		}
	}
}

func TestCleartext(t *testing.T) {
	for summary, b := range map[string]born{
		"Ed25519 of gpg": {algorithm: packet.PubKeyAlgoEdDSA}, "Ed25519 of RFC 9580": {algorithm: packet.PubKeyAlgoEd25519},
		"RSA": {algorithm: packet.PubKeyAlgoRSA}, "ECDSA": {algorithm: packet.PubKeyAlgoECDSA, curve: packet.CurveNistP256},
	} {
		t.Run(summary, func(t *testing.T) {
			p := newPerson(t, "archive", b)
			k := keyring(t, p)
			for _, hash := range []crypto.Hash{crypto.SHA256, crypto.SHA512} {
				body, sigs, err := k.Cleartext(clear(t, text, pen{hash: hash}, p), Options{Now: today})
				if err != nil || string(body) != text || len(sigs) != 1 {
					t.Fatalf("%v %q %+v", err, body, sigs)
				}
				s := sigs[0]
				if s.KeyID != p.PrimaryKey.KeyIdString() || !s.Created.Equal(then) || s.KeyExpired ||
					s.Signer != "archive <archive@example.org>" || !strings.HasSuffix(s.Fingerprint, s.KeyID) {
					t.Errorf("%+v", s)
				}
			}
			bad := bytes.Replace(clear(t, text, pen{}, p), []byte("bionic"), []byte("Bionic"), 1)
			body, _, err := k.Cleartext(bad, Options{Now: today})
			wants(t, err, "bad signature", p.PrimaryKey.KeyIdString())
			if body != nil {
				t.Error("body of a message nobody signed")
			}
		})
	}
}

func TestSeveralSigners(t *testing.T) {
	a, b, stranger := newPerson(t, "a", born{}), newPerson(t, "b", born{}), newPerson(t, "stranger", born{})
	dead := newPerson(t, "dead", born{days: 10})
	k := keyring(t, a, b, dead)
	for summary, c := range map[string]struct {
		msg  []byte
		good int
	}{
		"both":             {clear(t, text, pen{}, a, b), 2},
		"stranger first":   {clear(t, text, pen{}, stranger, b), 1},
		"stranger last":    {clear(t, text, pen{}, a, stranger), 1},
		"expired first":    {clear(t, text, pen{}, dead, a), 1},
		"bad one first":    {frame(text, append(a.sign(t, []byte("other"), pen{kind: 1}), signatures(t, clear(t, text, pen{}, b))...)), 1},
		"unknown version":  {frame(text, append([]byte{0xc2, 3, 9, 0, 0}, signatures(t, clear(t, text, pen{}, b))...)), 1},
		"empty first":      {frame(text, append([]byte{0xc2, 0}, signatures(t, clear(t, text, pen{}, b))...)), 1},
		"same one twice":   {clear(t, text, pen{}, a, a), 2},
		"weak one first":   {frame(text, append(signatures(t, clear(t, text, pen{hash: crypto.SHA1}, a)), signatures(t, clear(t, text, pen{}, b))...)), 1},
		"stranger alone":   {clear(t, text, pen{}, stranger), 0},
		"expired alone":    {clear(t, text, pen{}, dead), 0},
		"expired, strange": {clear(t, text, pen{}, dead, stranger), 0},
	} {
		_, sigs, err := k.Cleartext(c.msg, Options{Now: today})
		if len(sigs) != c.good || (err == nil) != (c.good > 0) {
			t.Errorf("%s: %d good, %v", summary, len(sigs), err)
		}
		if c.good == 0 {
			wants(t, err)
		}
	}
	_, _, err := k.Cleartext(clear(t, text, pen{}, dead, stranger), Options{Now: today})
	wants(t, err, dead.PrimaryKey.KeyIdString()+": key expired on 2015-01-11", stranger.PrimaryKey.KeyIdString()+": key is not in the keyring")
	_, _, err = k.Cleartext(clear(t, text, pen{hash: crypto.SHA1}, a), Options{Now: today})
	wants(t, err, "digest SHA-1 is too weak")
	_, _, err = k.Cleartext(clear(t, text, pen{hash: crypto.SHA224}, a), Options{Now: today})
	wants(t, err, "too weak")
}

func signatures(t testing.TB, msg []byte) []byte {
	t.Helper()
	m, err := splitCleartext(msg)
	if err != nil {
		t.Fatal(err)
	}
	return m.signatures
}

func TestExpiredKey(t *testing.T) {
	year := newPerson(t, "year", born{days: 366}) // until 2016-01-02
	k := keyring(t, year)
	for _, c := range []struct {
		summary string
		signed  time.Time
		options Options
		expired bool
		reason  string
	}{
		{"then, valid", then, Options{Now: then.Add(time.Hour)}, false, ""},
		{"then, valid, lenient", then, Options{Now: then, AllowExpiredKeys: true}, false, ""},
		{"expired since", then, Options{Now: today}, false, "key expired on 2016-01-02"},
		{"expired since, lenient", then, Options{Now: today, AllowExpiredKeys: true}, true, ""},
		{"signed after expiry", then.AddDate(0, 0, 2), Options{Now: today}, false, "key expired on 2016-01-02"},
		{"signed after expiry, lenient", then.AddDate(0, 0, 2), Options{Now: today, AllowExpiredKeys: true}, false, "before the signature was made"},
		{"signed before birth", past.Add(-time.Hour), Options{Now: today, AllowExpiredKeys: true}, false, "before its key was"},
	} {
		_, sigs, err := k.Cleartext(clear(t, text, pen{at: c.signed}, year), c.options)
		if c.reason != "" {
			wants(t, err, c.reason)
		} else if err != nil || sigs[0].KeyExpired != c.expired {
			t.Errorf("%s: %v %+v", c.summary, err, sigs)
		}
	}
	_, _, err := k.Cleartext(clear(t, text, pen{}, year), Options{})
	if err == nil || errors.As(err, new(*Untrusted)) {
		t.Errorf("without a time: %v", err)
	}
}

func TestExpiredSignature(t *testing.T) {
	p := newPerson(t, "p", born{})
	msg := clear(t, text, pen{lifetime: 86400}, p)
	if _, _, err := keyring(t, p).Cleartext(msg, Options{Now: then.Add(time.Hour)}); err != nil {
		t.Error(err)
	}
	_, _, err := keyring(t, p).Cleartext(msg, Options{Now: today, AllowExpiredKeys: true})
	wants(t, err, "signature expired on 2016-01-02")
}

func TestRevokedKey(t *testing.T) {
	p := newPerson(t, "p", born{})
	before := p.certificate(t)
	msg := clear(t, text, pen{}, p)
	config := &packet.Config{Time: func() time.Time { return today }}
	if err := p.Revoke(packet.KeyRetired, "", config); err != nil {
		t.Fatal(err)
	}
	for summary, files := range map[string][][]byte{
		"revoked": {p.certificate(t)}, "revoked in the second file": {before, p.certificate(t)}, "in the first": {p.certificate(t), before},
	} {
		other := newPerson(t, "other", born{}) // a keyring of nothing usable is no keyring
		k, err := ReadKeyring(append(files, other.certificate(t))...)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = k.Cleartext(msg, Options{Now: then, AllowExpiredKeys: true})
		wants(t, err, "key is revoked")
		if t.Failed() {
			t.Fatal(summary)
		}
	}
	if _, err := ReadKeyring(p.certificate(t)); err == nil {
		t.Error("a keyring of revoked keys passes")
	}
}

func TestSubkeys(t *testing.T) {
	p := newPerson(t, "p", born{})
	p.addSigningKey(t, born{at: past, days: 366})
	msg := clear(t, text, pen{subkey: true}, p)
	if _, sigs, err := keyring(t, p).Cleartext(msg, Options{Now: then}); err != nil || sigs[0].Signer != "p <p@example.org>" {
		t.Error(err, sigs)
	}
	_, _, err := keyring(t, p).Cleartext(msg, Options{Now: today})
	wants(t, err, "expired on 2016-01-02")

	t.Run("encryption subkey does not sign", func(t *testing.T) {
		e := newPerson(t, "e", born{algorithm: packet.PubKeyAlgoRSA})
		msg := clear(t, text, pen{subkey: true}, e) // its only subkey is for encryption
		_, _, err := keyring(t, e).Cleartext(msg, Options{Now: today})
		wants(t, err, "not in the keyring")
	})
	t.Run("ends with its primary key", func(t *testing.T) {
		e := newPerson(t, "e", born{days: 30})
		e.addSigningKey(t, born{at: past})
		msg := clear(t, text, pen{subkey: true, at: past.Add(time.Hour)}, e)
		_, _, err := keyring(t, e).Cleartext(msg, Options{Now: today})
		wants(t, err, "expired on 2015-01-31")
	})
	t.Run("revoked", func(t *testing.T) {
		if err := p.Subkeys[len(p.Subkeys)-1].Revoke(packet.KeyCompromised, "", &packet.Config{Time: func() time.Time { return then }}); err != nil {
			t.Fatal(err)
		}
		_, _, err := keyring(t, p).Cleartext(msg, Options{Now: then})
		wants(t, err, "revoked")
	})
	t.Run("adopted from another", func(t *testing.T) {
		a, b := newPerson(t, "a", born{}), newPerson(t, "b", born{})
		b.addSigningKey(t, born{at: past})
		theirs := b.Subkeys[len(b.Subkeys)-1]
		a.Subkeys = append(a.Subkeys, theirs) // bound by b's signature, not by a's
		_, _, err := keyring(t, a).Cleartext(clear(t, text, pen{subkey: true}, b), Options{Now: today})
		wants(t, err, "not in the keyring")
	})
}

func TestNoSelfSignature(t *testing.T) {
	p, q := newPerson(t, "p", born{}), newPerson(t, "q", born{})
	for _, i := range p.Identities {
		i.SelfCertifications = nil
	}
	p.DirectSignatures = nil
	_, _, err := keyring(t, p, q).Cleartext(clear(t, text, pen{}, p), Options{Now: today})
	wants(t, err, "no valid self-signature")
}

func TestWeakRSA(t *testing.T) {
	weak, err := newWeak()
	if err != nil {
		t.Fatal(err)
	}
	q := newPerson(t, "q", born{})
	_, _, err = keyring(t, weak, q).Cleartext(clear(t, text, pen{}, weak), Options{Now: today})
	wants(t, err, "less than 2048 bits")
}

func TestSignatureType(t *testing.T) {
	p := newPerson(t, "p", born{})
	canonical := []byte(strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\r\n"))
	for kind, ok := range map[packet.SignatureType]bool{
		packet.SigTypeText: true, packet.SigTypeBinary: true, 2: false, packet.SigTypePositiveCert: false, packet.SigTypeDirectSignature: false, 0x40: false,
	} {
		_, _, err := keyring(t, p).Cleartext(frame(text, p.sign(t, canonical, pen{kind: kind})), Options{Now: today})
		if (err == nil) != ok {
			t.Errorf("type %#x: %v", kind, err)
		}
	}
}

func TestDetached(t *testing.T) {
	p, stranger := newPerson(t, "p", born{}), newPerson(t, "s", born{})
	k := keyring(t, p)
	data := []byte("Origin: x\nno newline at end")
	good := p.sign(t, data, pen{})
	for summary, c := range map[string]struct {
		sig []byte
		ok  bool
	}{
		"binary":              {good, true},
		"armored":             {[]byte(armored("PGP SIGNATURE", good)), true},
		"armored, two blocks": {[]byte(armored("PGP SIGNATURE", stranger.sign(t, data, pen{})) + armored("PGP SIGNATURE", good)), true},
		"text":                {p.sign(t, canonicalText(data), pen{kind: packet.SigTypeText}), true},
		"text of binary":      {p.sign(t, data, pen{kind: packet.SigTypeText}), false},
		"none":                {nil, false},
		"stranger":            {stranger.sign(t, data, pen{}), false},
		"cut off":             {good[:len(good)-1], false},
		"armor cut off":       {[]byte(strings.TrimSuffix(armored("PGP SIGNATURE", good), "-----END PGP SIGNATURE-----\n")), false},
		"armor, wrong sum":    {[]byte(strings.Replace(armored("PGP SIGNATURE", good), "-----END", "=AAAA\n-----END", 1)), false},
		"other packet":        {append([]byte{0xcb, 1, 'b'}, good...), false},
		"many":                {bytes.Repeat(good, maxSignatures+1), false},
		"too large":           {append(good, make([]byte, maxSignature)...), false},
	} {
		sigs, err := k.Detached(data, c.sig, Options{Now: today})
		if (err == nil) != c.ok || c.ok && len(sigs) != 1 {
			t.Errorf("%s: %v %v", summary, err, sigs)
		}
		if !c.ok {
			wants(t, err)
		}
	}
}

func TestReadKeyring(t *testing.T) {
	p := newPerson(t, "p", born{})
	c := p.certificate(t)
	block := armored("PGP PUBLIC KEY BLOCK", c)
	for summary, file := range map[string][]byte{
		"binary":           c,
		"armored":          []byte(block),
		"text around":      []byte("my key:\n" + block + "thanks\n"),
		"two blocks":       []byte(armored("PGP PUBLIC KEY BLOCK", newPerson(t, "q", born{}).certificate(t)) + block),
		"unknown packets":  append([]byte{0xc6, 1, 9, 0xcd, 1, 'x', 0xfd, 1, 0}, c...),
		"CR LF":            []byte(strings.ReplaceAll(block, "\n", "\r\n")),
		"trust packets":    bytes.Replace(c, []byte{0xcd}, []byte{0xcc, 1, 0, 0xcd}, 1),
		"checksum present": []byte(strings.Replace(block, "-----END", "="+crc(c)+"\n-----END", 1)),
	} {
		k, err := ReadKeyring(file)
		if err != nil {
			t.Errorf("%s: %v", summary, err)
			continue
		}
		if _, _, err := k.Cleartext(clear(t, text, pen{}, p), Options{Now: today}); err != nil {
			t.Errorf("%s: %v", summary, err)
		}
	}
	for summary, file := range map[string][]byte{
		"nothing": nil, "text": []byte("hello\n"), "cut off": c[:len(c)/2], "private key block": []byte(armored("PGP PRIVATE KEY BLOCK", c)),
		"keybox": append([]byte("\x00\x00\x00\x20\x01\x01\x00\x02KBXf"), make([]byte, 32)...), "too large": make([]byte, maxKeyring+1),
		"signature only": p.sign(t, []byte("x"), pen{}), "user ID first": c[bytes.IndexByte(c, 0xcd):],
	} {
		if _, err := ReadKeyring(file); err == nil {
			t.Errorf("%s: read", summary)
		}
	}
	var none Keyring
	_, _, err := none.Cleartext(clear(t, text, pen{}, p), Options{Now: today})
	wants(t, err, "not in the keyring")
}
