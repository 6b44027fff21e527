package fetch

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

func TestDowngrade(t *testing.T) {
	plain := serve(t, serveContent)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/down" {
			http.Redirect(w, r, plain, http.StatusFound)
			return
		}
		serveContent(w, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	c := quick()
	c.TLS = &tls.Config{RootCAs: pool}
	if _, err := c.Read(t.Context(), Request{URL: s.URL}, 1<<20, Validators{}); err != nil {
		t.Error(err)
	}
	if _, err := c.Read(t.Context(), Request{URL: s.URL + "/down"}, 1<<20, Validators{}); !errors.Is(err, ErrRedirect) {
		t.Errorf("https to http: %v", err)
	}
	if _, err := quick().Read(t.Context(), Request{URL: s.URL}, 1<<20, Validators{}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("unknown authority: %v", err)
	}
}

// TestSecrets makes everything fail that has a password in it, and looks for the password.
func TestSecrets(t *testing.T) {
	const user, secret = "anna", "s3cr%2Ft"
	var logged bytes.Buffer
	var mode atomic.Value
	var authorized atomic.Int32
	other := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the password went to another host")
		}
		w.WriteHeader(http.StatusNotFound)
	})
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if a, b, _ := r.BasicAuth(); a == user && b == "s3cr/t" {
			authorized.Add(1)
		}
		switch mode.Load() {
		case "redirect":
			http.Redirect(w, r, strings.Replace(other, "127.0.0.1", "localhost", 1), http.StatusFound)
		case "location":
			w.Header().Set("Location", "http://"+user+":"+secret+"@h:x y/")
			w.WriteHeader(http.StatusFound)
		case "abort":
			panic(http.ErrAbortHandler)
		default:
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	withPassword := strings.Replace(u, "http://", "http://"+user+":"+secret+"@", 1)
	c := quick()
	c.Log = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var said strings.Builder
	for _, m := range []string{"401", "redirect", "location", "abort"} {
		mode.Store(m)
		_, err := c.Read(t.Context(), Request{URL: withPassword}, 10, Validators{})
		if err == nil {
			t.Errorf("%s: no error", m)
		}
		for e := err; e != nil; e = errors.Unwrap(e) {
			if _, ok := e.(*Error); ok {
				fmt.Fprintln(&said, e)
			}
		}
	}
	if authorized.Load() < 4 {
		t.Errorf("authorized %d times", authorized.Load())
	}
	for _, raw := range []string{
		"http://anna:s3cr%2Ft@127.0.0.1:1/", "https://anna:s3cr%2Ft@127.0.0.1:1/", "http://anna:s3cr%2Ft@no such host/",
		"http://anna:s3cr%zzt@h/", "http://anna:s3cr t@h/", "http://anna:s3cr/t@h/", "ftp://anna:s3cr@h/", "http://anna:s3cr%2Ft@[::1/",
	} {
		_, err := c.Read(t.Context(), Request{URL: raw}, 10, Validators{})
		fmt.Fprintln(&said, err)
	}
	proxied := quick()
	proxied.Proxy = func(*http.Request) (*url.URL, error) {
		return nil, errors.New(`invalid proxy address "http://anna:s3cr@t@proxy:x/"`)
	}
	_, err := proxied.Read(t.Context(), Request{URL: u}, 10, Validators{})
	fmt.Fprintln(&said, err)
	for _, text := range []string{said.String(), logged.String()} {
		if text == "" || strings.Contains(text, "s3cr") || strings.Contains(text, user) {
			t.Errorf("says\n%s", text)
		}
	}
}

func TestProxy(t *testing.T) {
	var seen string
	p := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen = r.URL.String() + " " + r.Header.Get("Proxy-Authorization")
		serveContent(w, r)
	})
	c := quick()
	c.Proxy = func(*http.Request) (*url.URL, error) {
		return url.Parse(strings.Replace(p, "http://", "http://u:p@", 1))
	}
	if _, err := c.Read(t.Context(), Request{URL: "http://archive.invalid/x"}, 1<<20, Validators{}); err != nil {
		t.Fatal(err)
	}
	if seen != "http://archive.invalid/x Basic dTpw" {
		t.Errorf("the proxy saw %s", seen)
	}
}

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"":                                     "",
		"http://h/p@q":                         "http://h/p@q",
		"http://u:p@h/x":                       "http://h/x",
		"http://u@h":                           "http://h",
		"a http://u:p@q@h b https://v@i?x=a@b": "a http://h b https://i?x=a@b",
		`"http://u:p@h"`:                       `"http://h"`,
		"://":                                  "://",
	} {
		if got := Redact(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("anna", "s3cret", "/x?y#z", "get ", " failed")
	f.Add("a@b:c/d", "p@:/? #\"'<>", "", "http://", "@")
	f.Fuzz(func(t *testing.T, user, password, rest, before, after string) {
		const mark = "\u2620"
		raw := (&url.URL{Scheme: "http", User: url.UserPassword(user+mark, mark+password), Host: "h", Path: "/p"}).String()
		for _, got := range []string{RedactURL(raw), Redact(before + " " + raw + " " + after)} {
			if strings.Contains(got, url.PathEscape(mark)) || !strings.Contains(got, "http://h/p") && !strings.Contains(before, "://") {
				t.Fatalf("%q: %q", raw, got)
			}
		}
		if out := Redact(rest); len(out) > len(rest) || Redact(out) != out && !strings.Contains(rest, "@") {
			t.Fatalf("%q: %q", rest, out)
		}
	})
}
