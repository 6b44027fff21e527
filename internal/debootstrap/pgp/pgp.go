// Package pgp verifies OpenPGP signatures on archive metadata against a keyring, by gpgv's rules
// with SHA-256 or better. It is the only importer of go-crypto.
package pgp

import (
	"fmt"
	"strings"
	"time"
)

// Options say at which time and how leniently keys are judged.
type Options struct {
	Now time.Time // when signatures and keys are judged; required
	// AllowExpiredKeys lets a key that has expired since count for a signature made while it was
	// valid. For archived suites only.
	AllowExpiredKeys bool
}

// A Signature is one good signature by a trusted key.
type Signature struct {
	KeyID       string // 16 upper-case hex digits of the key or subkey that signed
	Fingerprint string // of that key, upper-case hex
	Signer      string // primary user ID of the certificate
	Created     time.Time
	KeyExpired  bool // the key has expired since; only with AllowExpiredKeys
}

// Untrusted says why none of a message's signatures counts.
type Untrusted struct {
	Reasons []string // one per signature, naming the key ID
}

func (e *Untrusted) Error() string {
	const text = "no valid signature by a trusted key"
	if len(e.Reasons) == 0 {
		return text
	}
	return fmt.Sprintf("%s: %s", text, strings.Join(e.Reasons, "; "))
}
