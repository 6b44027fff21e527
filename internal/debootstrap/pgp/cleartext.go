package pgp

import (
	"bytes"
	"crypto"
	"strings"
)

// A clearMessage is a clear-signed message taken apart.
type clearMessage struct {
	body       []byte        // lines end in LF
	canonical  []byte        // as hashed: CR LF between lines, none after the last
	digests    []crypto.Hash // as announced in its headers
	signatures []byte        // packets
}

// splitCleartext takes a clear-signed message apart (RFC 9580, section 7). Whatever could make
// two readers disagree about which text is signed is refused: text before or after, a second block, headers
// other than Hash (gpg's NotDashEscaped among them), lines that begin with a dash but are not
// escaped, a separator line that is not quite empty.
func splitCleartext(msg []byte) (*clearMessage, error) {
	line, rest := cutLine(msg)
	if string(line) != "-----BEGIN PGP SIGNED MESSAGE-----" {
		return nil, untrusted("does not begin as a signed message")
	}
	digests, rest, err := readHashHeaders(rest)
	if err != nil {
		return nil, err
	}
	m := &clearMessage{digests: digests, body: make([]byte, 0, len(rest)), canonical: make([]byte, 0, len(rest)+len(rest)/32)}
	for first := true; ; first = false {
		if len(rest) == 0 {
			return nil, untrusted("signed message is cut off")
		}
		raw, after, _ := bytes.Cut(rest, []byte("\n"))
		line, rest = bytes.TrimRight(raw, " \t\r"), after
		if string(line) == "-----BEGIN PGP SIGNATURE-----" {
			break
		}
		if len(line) > 0 && line[0] == '-' {
			if !bytes.HasPrefix(raw, []byte("- ")) {
				return nil, untrusted("signed message has a line that begins with a dash and is not escaped")
			}
			line = line[min(2, len(line)):]
		}
		if !first {
			m.canonical = append(m.canonical, "\r\n"...)
		}
		m.canonical = append(m.canonical, line...)
		m.body = append(append(m.body, line...), '\n')
	}
	if len(rest) > maxSignature {
		return nil, untrusted("signatures have more than %d bytes", maxSignature)
	}
	signatures, rest, err := dearmorBlock(rest, "PGP SIGNATURE")
	if err != nil {
		return nil, untrusted("read signature: %v", err)
	}
	if len(bytes.Trim(rest, " \t\r\n")) > 0 {
		return nil, untrusted("text follows the signed message")
	}
	m.signatures = signatures
	return m, nil
}

// readHashHeaders returns the digests the headers announce and what follows the empty line after
// them. gpgv wants a signature's digest announced, so we do; that also tells a header from text.
func readHashHeaders(text []byte) (digests []crypto.Hash, rest []byte, err error) {
	for len(text) > 0 {
		raw, rest, _ := bytes.Cut(text, []byte("\n"))
		header := strings.TrimSuffix(string(raw[:min(len(raw), 1024)]), "\r")
		if header == "" {
			return digests, rest, nil
		}
		names, ok := strings.CutPrefix(header, "Hash: ")
		if !ok {
			return nil, nil, untrusted("signed message has an illegal header")
		}
		for name := range strings.SplitSeq(names, ",") {
			switch strings.Trim(name, " \t") {
			case "SHA256":
				digests = append(digests, crypto.SHA256)
			case "SHA384":
				digests = append(digests, crypto.SHA384)
			case "SHA512":
				digests = append(digests, crypto.SHA512)
			case "", "MD5", "SHA1", "RIPEMD160", "SHA224":
			default:
				return nil, nil, untrusted("signed message announces an unknown digest")
			}
		}
		text = rest
	}
	return nil, nil, untrusted("signed message is cut off")
}

// canonicalText makes every line end CR LF.
func canonicalText(data []byte) []byte {
	out := make([]byte, 0, len(data)+len(data)/32)
	for i, c := range data {
		if c == '\n' && (i == 0 || data[i-1] != '\r') {
			out = append(out, '\r')
		}
		out = append(out, c)
	}
	return out
}
