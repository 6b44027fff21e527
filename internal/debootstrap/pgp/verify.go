package pgp

import "errors"

// A Keyring holds trusted certificates.
type Keyring struct{}

var errNotBuilt = errors.New("verification is not built yet")

// ReadKeyring reads certificates, armored or binary.
func ReadKeyring(files ...[]byte) (*Keyring, error) { return nil, errNotBuilt }

// Cleartext verifies a clear-signed message and returns exactly what was signed.
func (k *Keyring) Cleartext(msg []byte, o Options) (body []byte, sigs []Signature, err error) {
	return nil, nil, errNotBuilt
}

// Detached verifies signatures, armored or binary, over data.
func (k *Keyring) Detached(data, sig []byte, o Options) ([]Signature, error) {
	return nil, errNotBuilt
}
