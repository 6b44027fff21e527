package pgp

import (
	"bytes"
	"crypto/rsa"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

const minRSABits = 2048

// A cert is a certificate as read, none of its signatures checked.
type cert struct {
	primary    *packet.PublicKey
	signatures []*packet.Signature // on the primary key itself
	users      []*user
	subkeys    []*subkey
}

type user struct {
	id         string
	signatures []*packet.Signature
}

type subkey struct {
	public     *packet.PublicKey
	signatures []*packet.Signature
}

func (c *cert) subkey(public *packet.PublicKey) *subkey {
	for _, s := range c.subkeys {
		if bytes.Equal(s.public.Fingerprint, public.Fingerprint) {
			return s
		}
	}
	s := &subkey{public: public}
	c.subkeys = append(c.subkeys, s)
	return s
}

// own reports whether the certificate's primary key says it made sig; only then is it worth checking.
func (c *cert) own(sig *packet.Signature) bool { return sig.CheckKeyIdOrFingerprint(c.primary) }

// judge checks the certificate's signatures about itself and returns its keys. The newest
// self-signature on a key states its expiry and use. A revocation counts whatever its reason or
// date; those by third parties are not understood.
func (c *cert) judge() []*key {
	self, signer := c.selfSignature()
	if self == nil {
		return []*key{{public: c.primary, problem: "has no valid self-signature"}}
	}
	primary := &key{public: c.primary, signer: signer, expires: expiry(c.primary, self), problem: weakness(c.primary)}
	if self.FlagsValid && !self.FlagSign {
		primary.problem = "is not for signing"
	}
	for _, sig := range c.signatures {
		if sig.SigType == packet.SigTypeKeyRevocation && c.own(sig) && c.primary.VerifyRevocationSignature(sig) == nil {
			primary.revoked = true
		}
	}
	keys := []*key{primary}
	for _, s := range c.subkeys {
		if k := c.judgeSubkey(s); k != nil {
			k.signer = signer
			k.revoked = k.revoked || primary.revoked
			k.expires = earlier(k.expires, primary.expires)
			keys = append(keys, k)
		}
	}
	return keys
}

// selfSignature returns the newest valid signature of the primary key on itself or a user ID,
// and the user ID to call it by.
func (c *cert) selfSignature() (newest *packet.Signature, signer string) {
	for _, sig := range c.signatures {
		if sig.SigType == packet.SigTypeDirectSignature && c.own(sig) && newer(sig, newest) &&
			c.primary.VerifyDirectKeySignature(sig) == nil {
			newest = sig
		}
	}
	var named *packet.Signature
	for _, u := range c.users {
		sig := c.certification(u)
		if sig == nil {
			continue
		}
		if named == nil || isPrimary(sig) && !isPrimary(named) || isPrimary(sig) == isPrimary(named) && newer(sig, named) {
			named, signer = sig, u.id
		}
		if newer(sig, newest) {
			newest = sig
		}
	}
	return newest, signer
}

// certification returns the newest valid self-signature on a user ID, nil if it was revoked since.
func (c *cert) certification(u *user) *packet.Signature {
	var newest, revoked *packet.Signature
	for _, sig := range u.signatures {
		isRevocation := sig.SigType == packet.SigTypeCertificationRevocation
		isCertification := sig.SigType >= packet.SigTypeGenericCert && sig.SigType <= packet.SigTypePositiveCert
		if !isRevocation && !isCertification || !c.own(sig) || c.primary.VerifyUserIdSignature(u.id, c.primary, sig) != nil {
			continue
		}
		switch {
		case isRevocation && newer(sig, revoked):
			revoked = sig
		case isCertification && newer(sig, newest):
			newest = sig
		}
	}
	if newest != nil && revoked != nil && !newer(newest, revoked) {
		return nil
	}
	return newest
}

// judgeSubkey returns nil for a subkey that is not for signing. The binding of one that is
// must hold the subkey's own signature too; go-crypto checks that.
func (c *cert) judgeSubkey(s *subkey) *key {
	var binding *packet.Signature
	revoked := false
	for _, sig := range s.signatures {
		switch {
		case !c.own(sig):
		case sig.SigType == packet.SigTypeSubkeyBinding && newer(sig, binding) && c.primary.VerifyKeySignature(s.public, sig) == nil:
			binding = sig
		case sig.SigType == packet.SigTypeSubkeyRevocation && c.primary.VerifySubkeyRevocationSignature(sig, s.public) == nil:
			revoked = true
		}
	}
	if binding == nil || !binding.FlagSign {
		return nil
	}
	return &key{public: s.public, expires: expiry(s.public, binding), revoked: revoked, problem: weakness(s.public)}
}

func isPrimary(sig *packet.Signature) bool { return sig.IsPrimaryId != nil && *sig.IsPrimaryId }

func newer(sig, than *packet.Signature) bool {
	return than == nil || sig.CreationTime.After(than.CreationTime)
}

// expiry is when a key ends by a self-signature on it; a self-signature that ends, ends the key.
func expiry(k *packet.PublicKey, self *packet.Signature) time.Time {
	return earlier(after(k.CreationTime, self.KeyLifetimeSecs), after(self.CreationTime, self.SigLifetimeSecs))
}

// after adds a lifetime; none or zero means forever.
func after(t time.Time, seconds *uint32) time.Time {
	if seconds == nil || *seconds == 0 {
		return time.Time{}
	}
	return t.Add(time.Duration(*seconds) * time.Second)
}

// earlier returns the earlier of two times of which zero means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// weakness says why a kind of key must not be trusted, or "".
func weakness(k *packet.PublicKey) string {
	if !k.CanSign() {
		return "cannot sign"
	}
	if k.PubKeyAlgo == packet.PubKeyAlgoDSA {
		return "is a DSA key, which is too weak"
	}
	if public, ok := k.PublicKey.(*rsa.PublicKey); ok && public.N.BitLen() < minRSABits {
		return "is an RSA key of less than 2048 bits, which is too weak"
	}
	return ""
}
