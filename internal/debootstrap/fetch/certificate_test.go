package fetch

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// authority is a certificate authority of our own.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ours"}, NotBefore: time.Now().Add(-48 * time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{t: t, key: key, pool: x509.NewCertPool()}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	return a
}

// serve runs a TLS server whose certificate is for one name until the given time.
func (a *authority) serve(name string, until time.Time) string {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(serveContent))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.StartTLS()
	a.t.Cleanup(s.Close)
	return strings.Replace(s.URL, "127.0.0.1", "localhost", 1)
}

func TestCertificates(t *testing.T) {
	ours, others := newAuthority(t), newAuthority(t)
	soon, past := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	for _, c := range []struct {
		summary, url string
		trusted      *authority
		hint         string
	}{
		{"trusted", ours.serve("localhost", soon), ours, ""},
		{"of another authority", ours.serve("localhost", soon), others, "--ca-file"},
		{"with the system's authorities alone", ours.serve("localhost", soon), nil, "--ca-file"},
		{"for another name", ours.serve("mirror.example", soon), ours, "another host's"},
		{"expired", ours.serve("localhost", past), ours, "clock"},
	} {
		client := quick()
		if c.trusted != nil {
			client.TLS = &tls.Config{RootCAs: c.trusted.pool}
		}
		_, err := client.Read(t.Context(), Request{URL: c.url}, 1<<20, Validators{})
		if (err == nil) != (c.hint == "") || Certificate(err) != (c.hint != "") || Offline(err) {
			t.Errorf("%s: certificate %v, offline %v: %v", c.summary, Certificate(err), Offline(err), err)
		}
		if got := CertificateHint(err); !strings.Contains(got, c.hint) || got != "" && c.hint == "" {
			t.Errorf("%s: hint %q", c.summary, got)
		}
	}
}
