package pgp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// A Keyring holds trusted certificates. It never changes and may be used concurrently.
type Keyring struct {
	keys map[uint64][]*key // by key ID, subkeys too
}

// A key is one that may sign, or would but for its problem.
type key struct {
	public  *packet.PublicKey
	signer  string
	expires time.Time // zero: never
	revoked bool
	problem string // why it must not sign, whenever
}

// OpenPGP packet types that stand in a keyring.
const (
	tagSignature    = 2
	tagSecretKey    = 5
	tagPublicKey    = 6
	tagSecretSubkey = 7
	tagUserID       = 13
	tagPublicSubkey = 14
)

// ReadKeyring reads certificates, armored or binary. The same certificate in several files is
// joined, so that a revocation in any of them counts. Keys of kinds that are not understood are
// passed over; a keyring without any usable key is an error.
func ReadKeyring(files ...[]byte) (*Keyring, error) {
	var r certReader
	for i, file := range files {
		if err := r.read(file); err != nil {
			return nil, fmt.Errorf("read keyring %d of %d: %w", i+1, len(files), err)
		}
	}
	k := &Keyring{keys: make(map[uint64][]*key)}
	usable := false
	for _, c := range r.certs {
		for _, key := range c.judge() {
			k.keys[key.public.KeyId] = append(k.keys[key.public.KeyId], key)
			usable = usable || key.problem == "" && !key.revoked
		}
	}
	if !usable {
		return nil, errors.New("read keyring: no usable key in it")
	}
	return k, nil
}

// HasSecret says whether a file of keys holds secret ones, too: such a file is not to be passed on.
func HasSecret(file []byte) bool {
	if isArmored(file) {
		return bytes.Contains(file, []byte(armorBegin+"PGP PRIVATE KEY BLOCK"))
	}
	for packets := packet.NewOpaqueReader(bytes.NewReader(file)); ; {
		p, err := packets.Next()
		if err != nil {
			return false // ReadKeyring refuses what goes on here
		}
		if p.Tag == tagSecretKey || p.Tag == tagSecretSubkey {
			return true
		}
	}
}

// certReader groups packets into certificates.
type certReader struct {
	certs   []*cert
	current *cert                // nil while packets of an unusable certificate pass
	attach  *[]*packet.Signature // where the next signatures belong; nil drops them
}

func (r *certReader) read(file []byte) error {
	switch {
	case len(file) > maxKeyring:
		return fmt.Errorf("has more than %d bytes", maxKeyring)
	case len(file) >= 12 && string(file[8:12]) == "KBXf":
		return errors.New("is a GnuPG keybox; write it anew with gpg --export")
	case isArmored(file):
		plain, err := dearmor(file, "PGP PUBLIC KEY BLOCK")
		if err != nil {
			return err
		}
		file = plain
	}
	r.current, r.attach = nil, nil
	for packets := packet.NewOpaqueReader(bytes.NewReader(file)); ; {
		p, err := packets.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("is no OpenPGP keyring: %w", err)
		}
		r.add(p)
	}
}

// add takes one packet. A certificate's own packets come before those of its user IDs and
// subkeys, and signatures after what they are about (RFC 9580, section 10.1).
func (r *certReader) add(p *packet.OpaquePacket) {
	switch p.Tag {
	case tagPublicKey, tagSecretKey:
		r.current, r.attach = nil, nil
		if public, ok := parse[*packet.PublicKey](p); ok && p.Tag == tagPublicKey {
			r.current = r.cert(public)
			r.attach = &r.current.signatures
		}
	case tagPublicSubkey:
		r.attach = nil
		if public, ok := parse[*packet.PublicKey](p); ok && r.current != nil {
			r.attach = &r.current.subkey(public).signatures
		}
	case tagUserID:
		r.attach = nil
		if r.current != nil {
			u := &user{id: string(p.Contents)}
			r.current.users = append(r.current.users, u)
			r.attach = &u.signatures
		}
	case tagSignature:
		if sig, ok := parse[*packet.Signature](p); ok && r.attach != nil {
			*r.attach = append(*r.attach, sig)
		}
	case 12: // GnuPG's trust notes stand between a packet and its signatures
	default:
		r.attach = nil
	}
}

// cert returns the certificate of a primary key, a new one unless it was met before.
func (r *certReader) cert(public *packet.PublicKey) *cert {
	for _, c := range r.certs {
		if bytes.Equal(c.primary.Fingerprint, public.Fingerprint) {
			return c
		}
	}
	c := &cert{primary: public}
	r.certs = append(r.certs, c)
	return c
}

// parse reads a packet as a T.
func parse[T packet.Packet](p *packet.OpaquePacket) (t T, ok bool) {
	parsed, err := p.Parse()
	if err != nil {
		return t, false
	}
	t, ok = parsed.(T)
	return t, ok
}
