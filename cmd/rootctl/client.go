package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/rootctl/rootctl/internal/debootstrap/fetch"
)

// client makes downloads as the environment, --ca-file, netrc and apt's auth.conf say.
func (a *app) client() (*fetch.Client, error) {
	conf, err := a.tlsConfig()
	if err != nil {
		return nil, err
	}
	logins := sync.OnceValue(a.logins) // read with the first request: a hit offline needs none
	return &fetch.Client{
		Proxy: http.ProxyFromEnvironment, Log: a.log(), TLS: conf,
		Auth: func(u *url.URL) (string, string, bool) { return logins().For(u) },
	}, nil
}

// tlsConfig trusts the authorities of --ca-file, else of the configuration's ca-file, beside the
// system's. It is nil when there is neither.
func (a *app) tlsConfig() (*tls.Config, error) {
	file, of := a.caFile, ""
	if file == "" {
		c, err := a.config()
		if err != nil || c.CAFile == "" {
			return nil, err
		}
		file, of = c.CAFile, " of the configuration's ca-file"
	}
	const hint = "give a file of certificates in PEM form: -----BEGIN CERTIFICATE-----"
	pem, err := readFile(file)
	if err != nil {
		return nil, withHint(fmt.Errorf("read certificate authorities%s: %w", of, err), hint)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, withHint(fmt.Errorf("read certificate authorities%s: %s holds no certificate", of, file), hint)
	}
	return &tls.Config{RootCAs: pool}, nil
}

// logins are those of $NETRC or ~/.netrc, then of apt's auth.conf and auth.conf.d.
func (a *app) logins() fetch.Logins {
	netrc := a.getenv("NETRC")
	if home := a.getenv("HOME"); netrc == "" && home != "" {
		netrc = filepath.Join(home, ".netrc")
	}
	return readLogins(netrc, "/etc/apt", a.warn, a.log())
}

// readLogins reads one netrc and apt's files below a folder. What this user may not read is not theirs
// to use.
func readLogins(netrc, apt string, warn func(string, ...any), log *slog.Logger) (all fetch.Logins) {
	read := func(name string, parse func(string) fetch.Logins) {
		b, err := readFile(name)
		switch {
		case err == nil:
			all = append(all, parse(string(b))...)
		case errors.Is(err, errNotRegular):
			warn("passwords: %v", err)
		case !errors.Is(err, fs.ErrNotExist):
			log.Debug("passwords not read", "error", err)
		}
	}
	if netrc != "" {
		read(netrc, fetch.ParseNetrc)
	}
	read(filepath.Join(apt, "auth.conf"), fetch.ParseAptAuth)
	files, err := os.ReadDir(filepath.Join(apt, "auth.conf.d"))
	if err != nil {
		return all
	}
	for _, f := range files {
		if isPart(f.Name()) {
			read(filepath.Join(apt, "auth.conf.d", f.Name()), fetch.ParseAptAuth)
		}
	}
	return all
}

// isPart holds for the names that apt reads in a folder of parts.
func isPart(name string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"
	return strings.HasSuffix(name, ".conf") && strings.Trim(name, letters) == ""
}
