package testarchive

import (
	"bytes"
	"crypto"
	"fmt"
	"io"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Key is an OpenPGP key pair that signs archives.
type Key struct {
	Entity *openpgp.Entity
}

// KeyOptions says what key to make. The zero value is an Ed25519 key that never expires.
type KeyOptions struct {
	Name    string
	RSA     int       // bits; 0: Ed25519
	Created time.Time // zero: Epoch - 1 year
	Expires time.Time // zero: never
	Subkey  bool      // sign with a signing subkey, as archives of Debian do
}

// NewKey returns an Ed25519 key named name that never expires.
func NewKey(name string) *Key { return NewKeyWith(KeyOptions{Name: name}) }

// NewKeyWith makes a key.
func NewKeyWith(o KeyOptions) *Key {
	if o.Created.IsZero() {
		o.Created = Epoch.AddDate(-1, 0, 0)
	}
	c := &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA, DefaultHash: crypto.SHA512,
		Time: func() time.Time { return o.Created },
	}
	if o.RSA > 0 {
		c.Algorithm, c.RSABits = packet.PubKeyAlgoRSA, o.RSA
	}
	if !o.Expires.IsZero() {
		c.KeyLifetimeSecs = uint32(o.Expires.Sub(o.Created).Seconds())
	}
	e, err := openpgp.NewEntity(o.Name, "test", o.Name+"@example.org", c)
	if err == nil && o.Subkey {
		err = e.AddSigningSubkey(c)
	}
	if err != nil {
		panic(fmt.Sprintf("testarchive: make key %s: %v", o.Name, err))
	}
	return &Key{Entity: e}
}

// Public returns the public key, binary.
func (k *Key) Public() []byte {
	var b bytes.Buffer
	if err := k.Entity.Serialize(&b); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// Armored returns the public key in ASCII armour.
func (k *Key) Armored() []byte {
	return armored(openpgp.PublicKeyType, k.Public())
}

// ID returns the long id of the key that signs, 16 upper-case hex digits.
func (k *Key) ID() string { return k.signing().KeyIdString() }

// Fingerprint returns the primary key's, in upper-case hex.
func (k *Key) Fingerprint() string { return fmt.Sprintf("%X", k.Entity.PrimaryKey.Fingerprint) }

func (k *Key) signing() *packet.PrivateKey {
	for _, s := range k.Entity.Subkeys {
		if s.Sig.FlagsValid && s.Sig.FlagSign {
			return s.PrivateKey
		}
	}
	return k.Entity.PrivateKey
}

func armored(kind string, data []byte) []byte {
	var b bytes.Buffer
	w, err := armor.Encode(&b, kind, nil)
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err)
	}
	b.WriteByte('\n')
	return b.Bytes()
}

func signConfig(at time.Time, hash crypto.Hash) *packet.Config {
	if hash == 0 {
		hash = crypto.SHA512
	}
	return &packet.Config{
		DefaultHash: hash, Time: func() time.Time { return at },
		NonDeterministicSignaturesViaNotation: packet.BoolPointer(false), // equal archives are equal bytes
	}
}

// SignInline clear-signs text as InRelease is, by every key, as of at. hash 0 is SHA-512.
func SignInline(text []byte, at time.Time, hash crypto.Hash, keys ...*Key) []byte {
	var private []*packet.PrivateKey
	for _, k := range keys {
		private = append(private, k.signing())
	}
	var b bytes.Buffer
	w, err := clearsign.EncodeMulti(&b, private, signConfig(at, hash))
	if err == nil {
		_, err = w.Write(text)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(fmt.Sprintf("testarchive: sign: %v", err))
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// SignDetached signs data as Release.gpg does: armoured, one signature packet a key. Unlike the
// library's own call it signs with expired keys too. hash 0 is SHA-512.
func SignDetached(data []byte, at time.Time, hash crypto.Hash, keys ...*Key) []byte {
	c := signConfig(at, hash)
	var b bytes.Buffer
	for _, k := range keys {
		key := k.signing()
		sig := &packet.Signature{
			Version: key.Version, SigType: packet.SigTypeBinary, PubKeyAlgo: key.PubKeyAlgo,
			Hash: c.Hash(), CreationTime: at, IssuerKeyId: &key.KeyId, IssuerFingerprint: key.Fingerprint,
		}
		h := c.Hash().New()
		_, err := io.Copy(h, bytes.NewReader(data))
		if err == nil {
			err = sig.Sign(h, key, c)
		}
		if err == nil {
			err = sig.Serialize(&b)
		}
		if err != nil {
			panic(fmt.Sprintf("testarchive: sign: %v", err))
		}
	}
	return armored(openpgp.SignatureType, b.Bytes())
}
