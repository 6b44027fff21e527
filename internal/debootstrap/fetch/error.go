package fetch

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// What callers branch on. Each is wrapped in an *Error.
var (
	ErrNotFound = errors.New("not found")
	ErrDenied   = errors.New("access denied")
	ErrStalled  = errors.New("stalled")
	ErrSize     = errors.New("not of the expected size")
	ErrRedirect = errors.New("redirected to where we do not go")
)

// Error is a failed download.
type Error struct {
	URL string // without user and password
	Err error
}

func (e *Error) Error() string { return fmt.Sprintf("get %s: %s", e.URL, e.Cause()) }

// Cause is the error without the URL.
func (e *Error) Cause() string {
	var dns *net.DNSError
	if !errors.As(e.Err, &dns) {
		return Redact(e.Err.Error())
	}
	proxy := ""
	if op := (*net.OpError)(nil); errors.As(e.Err, &op) && op.Op == "proxyconnect" {
		proxy = "proxy: "
	}
	switch {
	case dns.IsNotFound:
		return proxy + "no such host: " + dns.Name
	case dns.IsTimeout:
		return proxy + "no name server answers for " + dns.Name
	}
	return fmt.Sprintf("%slook up %s: %s", proxy, dns.Name, dns.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// StatusError is an answer that is no file.
type StatusError struct {
	Status int
	after  time.Duration
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("server says %d %s", e.Status, http.StatusText(e.Status))
}

// Is makes 404 and 410 ErrNotFound, 401, 403 and 407 ErrDenied.
func (e *StatusError) Is(target error) bool {
	switch e.Status {
	case http.StatusNotFound, http.StatusGone:
		return target == ErrNotFound
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		return target == ErrDenied
	}
	return false
}

// Offline says whether err means that the server gave no usable answer at all: no name, no connection,
// a stall, a fault of the server's own. A later attempt or another mirror may do better.
func Offline(err error) bool {
	var status *StatusError
	if errors.As(err, &status) {
		return status.Status >= 500 || status.Status == http.StatusTooManyRequests || status.Status == http.StatusRequestTimeout
	}
	return (errors.Is(err, ErrStalled) || isNet(err)) && !Certificate(err)
}

// Certificate says whether err means that the server's certificate is not to be trusted.
func Certificate(err error) bool {
	var cert *tls.CertificateVerificationError
	return errors.As(err, &cert)
}

// CertificateHint is the next step after an untrusted certificate, "" after anything else.
func CertificateHint(err error) string {
	var host x509.HostnameError
	var bad x509.CertificateInvalidError
	switch {
	case !Certificate(err):
		return ""
	case errors.As(err, &host):
		return "the certificate is another host's: check the name in the mirror's URL"
	case errors.As(err, &bad) && bad.Reason == x509.Expired:
		return "check this machine's clock; if it is right, the server's certificate wants renewing: try another --mirror"
	}
	return "if an authority of your own signs the mirror's certificate, give it with --ca-file FILE; if not, is ca-certificates installed?"
}

// netError marks what went wrong on the way, not in an answer.
type netError struct{ error }

func (e netError) Unwrap() error { return e.error }

func isNet(err error) bool {
	var n netError
	return errors.As(err, &n)
}

// fail makes the error that leaves the package.
func fail(raw string, err error) error {
	var have *Error
	if errors.As(err, &have) {
		return err
	}
	// net/http puts the URL, user name included, in front: ours stands there already.
	if n, ok := err.(netError); ok {
		err = n.error
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		err = netError{err}
	}
	return &Error{URL: RedactURL(raw), Err: err}
}

// temporary says whether the same request may succeed when made again.
func temporary(err error) bool {
	var dns *net.DNSError
	lasting := errors.Is(err, ErrRedirect) || errors.As(err, &dns) && dns.IsNotFound
	return Offline(err) && !lasting
}

func statusError(r *http.Response) error {
	e := &StatusError{Status: r.StatusCode}
	if s, err := strconv.Atoi(r.Header.Get("Retry-After")); err == nil && s > 0 {
		e.after = min(time.Duration(s)*time.Second, maxBackoff)
	}
	return e
}

func retryAfter(err error) time.Duration {
	var s *StatusError
	if errors.As(err, &s) {
		return s.after
	}
	return 0
}

// jitter spreads clients that failed together: between a half and all of d.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2+1)
}
