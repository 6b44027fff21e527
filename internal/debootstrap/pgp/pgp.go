// Package pgp verifies OpenPGP signatures on archive metadata against a keyring, by gpgv's and
// apt's rules, with SHA-256 or better. It is the only importer of go-crypto, and uses of it only
// the reading of packets and the arithmetic: go-crypto's own verification judges only the first
// signature whose key it knows (v1) or accepts expired keys (v2).
package pgp

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	maxMessage    = 64 << 20 // bytes of a signed text
	maxSignature  = 1 << 20  // bytes of its signatures
	maxSignatures = 32       // packets
	maxKeyring    = 16 << 20 // bytes of one keyring file
)

// Options say at which time and how leniently keys are judged.
type Options struct {
	// Now is when keys and signatures are judged; required.
	Now time.Time
	// AllowExpiredKeys lets a key that has expired since count for a signature made while it was
	// valid. For archived suites only.
	AllowExpiredKeys bool
}

var errNoTime = errors.New("verify signature: no time to judge it at")

// A Signature is one good signature by a trusted key.
type Signature struct {
	KeyID       string // 16 upper-case hex digits of the key or subkey that signed
	Fingerprint string // of that key, upper-case hex
	Signer      string // user ID of its certificate
	Created     time.Time
	KeyExpired  bool // the key has expired since; only with AllowExpiredKeys
}

// Untrusted says why none of a message's signatures counts, or why its frame cannot be trusted.
type Untrusted struct {
	Reasons []string // one per signature, naming the key ID
}

func (e *Untrusted) Error() string {
	const text = "no valid signature by a trusted key"
	if len(e.Reasons) == 0 {
		return text
	}
	return text + ": " + strings.Join(e.Reasons, "; ")
}

func untrusted(format string, args ...any) error {
	return &Untrusted{Reasons: []string{fmt.Sprintf(format, args...)}}
}

// Cleartext verifies a clear-signed message (InRelease) and returns exactly the text that was
// signed: dash escapes undone, lines ending in LF, blanks at line ends, which no signature covers,
// dropped. A message with anything outside the signed block is refused whole. Without a good
// signature by a key of k the error is *Untrusted.
func (k *Keyring) Cleartext(msg []byte, o Options) (body []byte, sigs []Signature, err error) {
	if o.Now.IsZero() {
		return nil, nil, errNoTime
	}
	if len(msg) > maxMessage {
		return nil, nil, untrusted("signed message has more than %d bytes", maxMessage)
	}
	m, err := splitCleartext(msg)
	if err != nil {
		return nil, nil, err
	}
	packets, err := readSignatures(m.signatures)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range packets {
		if p.err == nil && strong(p.Hash) && !slices.Contains(m.digests, p.Hash) {
			p.err = fmt.Errorf("its digest %v is not announced in the message's headers", p.Hash)
		}
	}
	// The frame implies a text signature; gpgv hashes the same bytes whichever type it states.
	sigs, err = k.verify(packets, o, func(*packetSignature) []byte { return m.canonical })
	if err != nil {
		return nil, nil, err
	}
	return m.body, sigs, nil
}

// Detached verifies signatures (Release.gpg, armored or binary) over data. Without a good one by a
// key of k the error is *Untrusted.
func (k *Keyring) Detached(data, sig []byte, o Options) ([]Signature, error) {
	if o.Now.IsZero() {
		return nil, errNoTime
	}
	if len(data) > maxMessage || len(sig) > maxSignature {
		return nil, untrusted("signed message has more than %d bytes, or its signature more than %d", maxMessage, maxSignature)
	}
	if isArmored(sig) {
		blocks, err := dearmor(sig, "PGP SIGNATURE")
		if err != nil {
			return nil, untrusted("read signature: %v", err)
		}
		sig = blocks
	}
	packets, err := readSignatures(sig)
	if err != nil {
		return nil, err
	}
	return k.verify(packets, o, func(p *packetSignature) []byte {
		if p.isText() {
			return canonicalText(data)
		}
		return data
	})
}
