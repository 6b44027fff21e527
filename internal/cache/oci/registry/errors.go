package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// ErrNotFound is an image, blob or repository that the registry does not have.
var ErrNotFound = errors.New("the registry does not have it")

// An Error is a registry's, or of the way there.
type Error struct {
	Op  string // reach, read, push
	Ref string
	Err error
}

func (e *Error) Error() string { return fmt.Sprintf("%s %s: %v", e.Op, e.Ref, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// Hint is the next step.
func (e *Error) Hint() string {
	var status *statusError
	var unknown x509.UnknownAuthorityError
	var cert *tls.CertificateVerificationError
	var dns *net.DNSError
	var slow *slowError
	switch {
	case errors.As(e.Err, &status):
		return status.hint()
	case errors.As(e.Err, &slow):
		return slow.Hint()
	case errors.Is(e.Err, auth.ErrBasicCredentialNotFound):
		return "log in first: docker login, podman login --authfile ~/.docker/config.json, or a credential helper"
	case errors.As(e.Err, &unknown), errors.As(e.Err, &cert):
		return "trust its authority with --ca-file FILE; --insecure is for registries on this machine"
	case plainHTTP(e.Err):
		return "it speaks plain HTTP: --insecure allows that on this machine, --insecure=HOST[:PORT] elsewhere"
	case errors.As(e.Err, &dns), errors.Is(e.Err, syscall.ECONNREFUSED):
		return "check the reference's host and port, and that the registry runs"
	}
	return ""
}

// statusError is an answer other than the one hoped for.
type statusError struct {
	code    int
	message string // the registry's, clipped
}

func (e *statusError) Error() string {
	text := fmt.Sprintf("the registry says %d %s", e.code, http.StatusText(e.code))
	if e.message != "" {
		text += ": " + e.message
	}
	return text
}

func (e *statusError) hint() string {
	switch {
	case e.code == http.StatusUnauthorized:
		return "log in first: docker login, podman login --authfile ~/.docker/config.json, or a credential helper"
	case e.code == http.StatusNotFound:
		return "check the name and the tag: skopeo list-tags docker://HOST/REPOSITORY"
	case e.code == http.StatusForbidden:
		return "these credentials may not do that: whoever pushes needs the right to write"
	case e.code == http.StatusMethodNotAllowed:
		return "the registry is read-only: leave --cache-to out, or push elsewhere"
	case e.code == http.StatusTooManyRequests:
		return "try again later, or log in: registries allow more to those they know"
	case e.code >= 500:
		return "try again later; the registry's log knows more"
	}
	return ""
}

// Is lets an answer of 404 be ErrNotFound.
func (e *statusError) Is(target error) bool {
	return target == ErrNotFound && e.code == http.StatusNotFound
}

// plainError leaves out what must not be shown: addresses with signatures or states of uploads in them.
func plainError(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var resp *errcode.ErrorResponse
	if errors.As(err, &resp) {
		s := &statusError{code: resp.StatusCode}
		if len(resp.Errors) > 0 {
			s.message = clip(resp.Errors[0].Message)
		}
		return s
	}
	if errors.Is(err, errdef.ErrNotFound) {
		return ErrNotFound
	}
	return err
}

// clip has what somebody else wrote in one bearable line.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s)
	if len(s) > 200 {
		return strings.ToValidUTF8(s[:200], "") + "..."
	}
	return s
}

// permanent holds for what another try does not mend.
func permanent(err error) bool {
	var unknown x509.UnknownAuthorityError
	var cert *tls.CertificateVerificationError
	var dns *net.DNSError
	var slow *slowError
	return errors.As(err, &slow) && slow.drip || errors.As(err, &unknown) || errors.As(err, &cert) || plainHTTP(err) || errors.As(err, &dns) && dns.IsNotFound
}

// plainHTTP holds for the answer of a server that does not speak TLS.
func plainHTTP(err error) bool {
	var header tls.RecordHeaderError
	return errors.As(err, &header) || err != nil && strings.Contains(err.Error(), "HTTP response to HTTPS client")
}
