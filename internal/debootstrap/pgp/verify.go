package pgp

import (
	"bytes"
	"crypto"
	"fmt"
	"io"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// A packetSignature is a signature packet, or what is wrong with it.
type packetSignature struct {
	*packet.Signature
	err error
}

func (p *packetSignature) isText() bool { return p.Signature != nil && p.SigType == packet.SigTypeText }

// readSignatures splits signature packets, so that each can be judged by itself: one that
// is malformed or unknown must not hide a good one.
func readSignatures(b []byte) ([]*packetSignature, error) {
	var sigs []*packetSignature
	for packets := packet.NewOpaqueReader(bytes.NewReader(b)); ; {
		p, err := packets.Next()
		switch {
		case err == io.EOF && len(sigs) == 0:
			return nil, untrusted("no signature")
		case err == io.EOF:
			return sigs, nil
		case err != nil:
			return nil, untrusted("read signature: %v", err)
		case p.Tag != tagSignature:
			return nil, untrusted("read signature: packet of type %d among the signatures", p.Tag)
		case len(sigs) == maxSignatures:
			return nil, untrusted("more than %d signatures", maxSignatures)
		}
		parsed, err := p.Parse()
		sig, _ := parsed.(*packet.Signature)
		if err == nil && sig == nil {
			err = fmt.Errorf("unexpected %T", parsed)
		}
		sigs = append(sigs, &packetSignature{Signature: sig, err: err})
	}
}

// verify returns the good signatures; data gives the bytes one covers.
func (k *Keyring) verify(packets []*packetSignature, o Options, data func(*packetSignature) []byte) ([]Signature, error) {
	var good []Signature
	var reasons []string
	for _, p := range packets {
		s, reason := k.judge(p, o, data)
		if reason == "" {
			good = append(good, s)
		} else {
			reasons = append(reasons, reason)
		}
	}
	if len(good) == 0 {
		return nil, &Untrusted{Reasons: reasons}
	}
	return good, nil
}

// judge checks one signature with every key of its ID; the reason is "" for a good one.
func (k *Keyring) judge(p *packetSignature, o Options, data func(*packetSignature) []byte) (s Signature, reason string) {
	switch {
	case p.err != nil:
		return s, "signature not understood: " + p.err.Error()
	case p.IssuerKeyId == nil:
		return s, "signature names no key"
	}
	name := fmt.Sprintf("signature by key %016X: ", *p.IssuerKeyId)
	switch {
	case p.SigType != packet.SigTypeBinary && p.SigType != packet.SigTypeText:
		return s, name + fmt.Sprintf("is of type %#x, not over a document", int(p.SigType))
	case !strong(p.Hash):
		return s, name + fmt.Sprintf("digest %v is too weak", p.Hash)
	}
	reason = name + "key is not in the keyring"
	for _, key := range k.keys[*p.IssuerKeyId] {
		if !p.CheckKeyIdOrFingerprint(key.public) {
			continue
		}
		if s, why := key.verify(p, o, data); why == "" {
			return s, ""
		} else {
			reason = name + why
		}
	}
	return s, reason
}

// strong reports whether a digest is SHA-256 or better.
func strong(h crypto.Hash) bool {
	switch h {
	case crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.SHA3_256, crypto.SHA3_512:
		return true
	}
	return false
}

// verify checks one signature with one key.
func (k *key) verify(p *packetSignature, o Options, data func(*packetSignature) []byte) (s Signature, why string) {
	h, err := p.PrepareVerify()
	if err != nil {
		return s, "not understood: " + err.Error()
	}
	h.Write(data(p))
	if err := k.public.VerifySignature(h, p.Signature); err != nil {
		return s, "bad signature"
	}
	expired := !k.expires.IsZero() && !o.Now.Before(k.expires)
	ends := after(p.CreationTime, p.SigLifetimeSecs)
	switch {
	case k.revoked:
		return s, "key is revoked"
	case k.problem != "":
		return s, "key " + k.problem
	case p.CreationTime.Before(k.public.CreationTime):
		return s, "made before its key was"
	case !ends.IsZero() && !o.Now.Before(ends):
		return s, "signature expired on " + ends.UTC().Format(time.DateOnly)
	case expired && !o.AllowExpiredKeys:
		return s, "key expired on " + k.expires.UTC().Format(time.DateOnly)
	case expired && !p.CreationTime.Before(k.expires):
		return s, "key expired on " + k.expires.UTC().Format(time.DateOnly) + ", before the signature was made"
	}
	return Signature{
		KeyID:       fmt.Sprintf("%016X", k.public.KeyId),
		Fingerprint: fmt.Sprintf("%X", k.public.Fingerprint),
		Signer:      k.signer,
		Created:     p.CreationTime.UTC(),
		KeyExpired:  expired,
	}, ""
}
