package pgp

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// The tests' calendar.
var (
	past  = time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC)
	then  = time.Date(2016, 1, 1, 0, 0, 0, 0, time.UTC)
	today = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
)

// A person owns one certificate.
type person struct{ *openpgp.Entity }

type born struct {
	algorithm packet.PublicKeyAlgorithm // zero: Ed25519 as gpg makes it
	curve     packet.Curve
	at        time.Time // zero: past
	days      uint32    // zero: for ever
}

func newPerson(t testing.TB, name string, b born) person {
	t.Helper()
	if b.algorithm == 0 {
		b.algorithm = packet.PubKeyAlgoEdDSA
	}
	if b.at.IsZero() {
		b.at = past
	}
	// The same name gives the same Ed25519 key, so that fuzzing's processes share their keys.
	e, err := openpgp.NewEntity(name, "", name+"@example.org", &packet.Config{
		Rand:      rand.NewChaCha8(sha256.Sum256([]byte(name))),
		Algorithm: b.algorithm, RSABits: 2048, Curve: b.curve, KeyLifetimeSecs: b.days * 86400,
		Time: func() time.Time { return b.at },
	})
	if err != nil {
		t.Fatal(err)
	}
	return person{e}
}

func (p person) certificate(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := p.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// addSigningKey gives the person a signing subkey, made and bound at b.at.
func (p person) addSigningKey(t testing.TB, b born) {
	t.Helper()
	config := &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, KeyLifetimeSecs: b.days * 86400, Time: func() time.Time { return b.at }}
	if err := p.AddSigningSubkey(config); err != nil {
		t.Fatal(err)
	}
}

// A pen says how to sign; zero values are usual.
type pen struct {
	kind     packet.SignatureType
	hash     crypto.Hash
	at       time.Time
	lifetime uint32
	subkey   bool // sign with the last subkey
}

// sign returns a signature packet over data.
func (p person) sign(t testing.TB, data []byte, with pen) []byte {
	t.Helper()
	private := p.PrivateKey
	if with.subkey {
		private = p.Subkeys[len(p.Subkeys)-1].PrivateKey
	}
	if with.hash == 0 {
		with.hash = crypto.SHA256
	}
	if with.at.IsZero() {
		with.at = then
	}
	sig := &packet.Signature{Version: 4, SigType: with.kind, PubKeyAlgo: private.PubKeyAlgo, Hash: with.hash, CreationTime: with.at,
		IssuerKeyId: &private.KeyId, IssuerFingerprint: private.Fingerprint}
	if with.lifetime != 0 {
		sig.SigLifetimeSecs = &with.lifetime
	}
	h := with.hash.New()
	h.Write(data)
	if err := sig.Sign(h, private, &packet.Config{DefaultHash: with.hash, NonDeterministicSignaturesViaNotation: packet.BoolPointer(false)}); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := sig.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// clear signs text, whose lines must need no escaping, for everyone at once.
func clear(t testing.TB, text string, with pen, people ...person) []byte {
	t.Helper()
	canonical := strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\r\n")
	if with.kind == 0 {
		with.kind = packet.SigTypeText
	}
	var sigs []byte
	for _, p := range people {
		sigs = append(sigs, p.sign(t, []byte(canonical), with)...)
	}
	return frame(text, sigs)
}

func frame(text string, sigs []byte) []byte {
	return []byte("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\nHash: SHA1,SHA384, SHA512\n\n" + text + armored("PGP SIGNATURE", sigs))
}

func armored(kind string, data []byte) string {
	return "-----BEGIN " + kind + "-----\n\n" + wrap(base64.StdEncoding.EncodeToString(data)) + "-----END " + kind + "-----\n"
}

func wrap(s string) string {
	var b strings.Builder
	for len(s) > 64 {
		b.WriteString(s[:64] + "\n")
		s = s[64:]
	}
	return b.String() + s + "\n"
}

func keyring(t testing.TB, people ...person) *Keyring {
	t.Helper()
	var files [][]byte
	for _, p := range people {
		files = append(files, p.certificate(t))
	}
	k, err := ReadKeyring(files...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// A guard asks gpgv, the oracle.
type guard struct{ dir, keyring string }

func newGuard(t testing.TB, keyrings ...[]byte) guard {
	t.Helper()
	if _, err := exec.LookPath("gpgv"); err != nil {
		t.Skip("needs gpgv: the oracle for signatures")
	}
	dir := t.TempDir()
	g := guard{dir, filepath.Join(dir, "keyring.gpg")}
	if err := os.WriteFile(g.keyring, bytes.Join(keyrings, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	return g
}

// cleartext returns what gpgv takes for the signed text, and whether some signature is good. Its
// exit status also tells of bad ones beside it, which is not asked here.
func (g guard) cleartext(t testing.TB, msg []byte) (body []byte, status string, good bool) {
	t.Helper()
	in, out := filepath.Join(g.dir, "in"), filepath.Join(g.dir, "out")
	if err := os.WriteFile(in, msg, 0o600); err != nil {
		t.Fatal(err)
	}
	os.Remove(out)
	text, _ := exec.Command("gpgv", "--homedir", g.dir, "--keyring", g.keyring, "--status-fd", "1", "--output", out, in).Output()
	body, err := os.ReadFile(out)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return body, string(text), strings.Contains(string(text), "[GNUPG:] GOODSIG ")
}
