package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// builtRegistry builds distribution's registry, a program of its own, once.
var builtRegistry = sync.OnceValues(func() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	file := filepath.Join(dir, "rootctl-tests", "registry-3.1.2")
	c := exec.Command("go", "build", "-o", file, ".")
	c.Dir = filepath.Join("testdata", "registry")
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod", "GOWORK=off")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the registry: %w\n%s", err, out)
	}
	return file, nil
})

// A realRegistry is one on loopback.
type realRegistry struct {
	host string // localhost:PORT
	dir  string // its files
	args []string
	ca   string // file of its certificate, if it has one
	conf string
	stop func()
}

// registryWith says what a registry is to have.
type registryWith struct{ tls, login bool }

// The password is only a test's: bcrypt of "s3cret-w0rd".
const testLogin = "builder:$2b$05$abcdefghijklmnopqrstuuxkfnsT92cmKajQ/1kES5QAXehS5Jpc.\n"

func startRegistry(t *testing.T, w registryWith) *realRegistry {
	t.Helper()
	if _, err := builtRegistry(); err != nil {
		t.Fatal(err)
	}
	r := &realRegistry{dir: t.TempDir()}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.host = fmt.Sprintf("localhost:%d", l.Addr().(*net.TCPAddr).Port)
	l.Close()
	conf := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage:\n  filesystem: {rootdirectory: %q}\nhttp:\n  addr: %s\n", r.dir, strings.Replace(r.host, "localhost", "127.0.0.1", 1))
	if w.tls {
		cert, key := selfSigned(t)
		r.ca, r.args = cert, []string{"--ca-file", cert}
		conf += fmt.Sprintf("  tls: {certificate: %q, key: %q}\n", cert, key)
	} else {
		r.args = []string{"--insecure"}
	}
	if w.login {
		file := filepath.Join(t.TempDir(), "htpasswd")
		if err := os.WriteFile(file, []byte(testLogin), 0o600); err != nil {
			t.Fatal(err)
		}
		conf += fmt.Sprintf("auth:\n  htpasswd: {realm: tests, path: %q}\n", file)
	}
	r.conf = conf
	r.start(t)
	t.Cleanup(func() { r.stop() })
	return r
}

// start runs the registry, which may have been stopped.
func (r *realRegistry) start(t *testing.T) {
	program, err := builtRegistry()
	if err != nil {
		t.Error(err)
		return
	}
	c := exec.Command(program)
	c.Stdin = strings.NewReader(r.conf)
	c.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	errs := &said{}
	c.Stderr = errs
	if err := c.Start(); err != nil {
		t.Error(err)
		return
	}
	r.stop = sync.OnceFunc(func() {
		c.Process.Kill()
		_ = c.Wait() // it was killed
	})
	until(t, "the registry answers at "+r.host+"\n"+errs.String(), func() bool {
		conn, err := net.Dial("tcp", strings.Replace(r.host, "localhost", "127.0.0.1", 1))
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// selfSigned writes a certificate for localhost and its key.
func selfSigned(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// dockerConfig writes a configuration as docker login does and returns its folder.
func dockerConfig(t *testing.T, host, password string) string {
	t.Helper()
	dir := t.TempDir()
	text, err := json.Marshal(map[string]any{"auths": map[string]any{host: map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte("builder:" + password))}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A meddler stands before a registry and answers some requests otherwise.
type meddler struct {
	host string
	mu   sync.Mutex
	// answer handles a request, or says that the registry is to.
	answer func(w http.ResponseWriter, r *http.Request, real http.Handler) bool
}

func meddle(t *testing.T, r *realRegistry) *meddler {
	t.Helper()
	m := &meddler{}
	to := &url.URL{Scheme: "http", Host: strings.Replace(r.host, "localhost", "127.0.0.1", 1)}
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(to)
		p.Out.Host = p.In.Host // which uploads are sent to again
	}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.host = fmt.Sprintf("localhost:%d", l.Addr().(*net.TCPAddr).Port)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		m.mu.Lock()
		answer := m.answer
		m.mu.Unlock()
		if answer == nil || !answer(w, q, proxy) {
			proxy.ServeHTTP(w, q)
		}
	})}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close() })
	return m
}

func (m *meddler) set(answer func(w http.ResponseWriter, r *http.Request, real http.Handler) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answer = answer
}

// recorded is the real answer to a request.
func recorded(real http.Handler, r *http.Request) (*http.Response, []byte) {
	rec := &recorder{header: http.Header{}}
	real.ServeHTTP(rec, r)
	return &http.Response{StatusCode: rec.code, Header: rec.header}, rec.b.Bytes()
}

type recorder struct {
	header http.Header
	code   int
	b      bytes.Buffer
}

func (r *recorder) Header() http.Header { return r.header }
func (r *recorder) WriteHeader(c int)   { r.code = c }
func (r *recorder) Write(b []byte) (int, error) {
	if r.code == 0 {
		r.code = http.StatusOK
	}
	return r.b.Write(b)
}
