// Package fetch downloads archive files: over http and https with time-outs, retries and resumption,
// or from file URLs. What it reads is bounded by what the caller expects. Whether the bytes are the
// right ones is for the caller to judge.
package fetch

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	defaultConnect  = 10 * time.Second
	defaultStall    = 20 * time.Second
	defaultBackoff  = 500 * time.Millisecond
	maxBackoff      = 15 * time.Second
	defaultAttempts = 4
	defaultConns    = 8
	maxRedirects    = 10
)

// Client makes requests. The zero value works, and goes through no proxy. It is safe for concurrent
// use; its fields must not change once it is used.
type Client struct {
	Proxy     func(*http.Request) (*url.URL, error)
	Connect   time.Duration // for a connection to be made, TLS included; 0: 10 s
	Stall     time.Duration // without a kilobyte coming, before the server counts as stalled; 0: 20 s
	Backoff   time.Duration // before the second attempt, doubled each time up to 15 s; 0: 0.5 s
	Attempts  int           // at one URL, unless the request says; 0: 4
	Conns     int           // at a time to one host; 0: 8
	UserAgent string        // "": rootctl
	TLS       *tls.Config
	Log       *slog.Logger // nil: none
	// Auth gives user and password for a URL that has none itself; it may be nil.
	Auth func(*url.URL) (user, password string, ok bool)

	once sync.Once
	http *http.Client
	rate atomic.Uint64 // of the last transfer that was long enough to tell, as a float64
}

// Request says what to get.
type Request struct {
	URL      string // user:password in it is used for basic authentication and is never shown
	Attempts int    // 0: the client's
	Fresh    bool   // past any cache on the way
	OnBytes  func(n int64)
}

// Rate is the speed of a recent transfer in bytes per second, 0 if there was none long enough to tell.
func (c *Client) Rate() float64 { return math.Float64frombits(c.rate.Load()) }

func (c *Client) client() *http.Client {
	c.once.Do(func() {
		connect := cmp.Or(c.Connect, defaultConnect)
		conns := cmp.Or(c.Conns, defaultConns)
		c.http = &http.Client{
			CheckRedirect: c.checkRedirect,
			Transport: &http.Transport{
				Proxy:                  c.Proxy,
				DialContext:            (&net.Dialer{Timeout: connect}).DialContext,
				TLSHandshakeTimeout:    connect,
				TLSClientConfig:        c.TLS,
				ForceAttemptHTTP2:      true,
				MaxConnsPerHost:        conns,
				MaxIdleConnsPerHost:    conns,
				IdleConnTimeout:        30 * time.Second,
				MaxResponseHeaderBytes: 64 << 10,
				DisableCompression:     true, // sizes and ranges are those of the file
			},
		}
	})
	return c.http
}

// CloseIdle closes connections that are kept for further requests.
func (c *Client) CloseIdle() { c.client().CloseIdleConnections() }

func (c *Client) checkRedirect(r *http.Request, via []*http.Request) error {
	switch {
	case len(via) >= maxRedirects:
		return fmt.Errorf("%w: more than %d times", ErrRedirect, maxRedirects)
	case r.URL.Scheme != "https" && r.URL.Scheme != "http":
		return fmt.Errorf("%w: to a %s URL", ErrRedirect, r.URL.Scheme)
	case r.URL.Scheme == "http" && via[len(via)-1].URL.Scheme == "https":
		return fmt.Errorf("%w: from https to http", ErrRedirect)
	}
	if origin(r.URL) != origin(via[0].URL) { // net/http takes another port for the same host
		r.Header.Del("Authorization")
	}
	r.URL.User = nil // who redirects does not choose who we are
	c.authorize(r)
	r.Header.Del("Referer")
	return nil
}

// origin is what a password is for: scheme, host and port.
func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// authorize gives a request that has no password the one meant for its URL.
func (c *Client) authorize(r *http.Request) {
	if c.Auth == nil || r.Header.Get("Authorization") != "" {
		return
	}
	if user, password, ok := c.Auth(r.URL); ok {
		r.SetBasicAuth(user, password)
	}
}

// newRequest makes a GET request. The error names no URL.
func (c *Client) newRequest(ctx context.Context, r Request) (*http.Request, error) {
	u, err := url.Parse(r.URL)
	if err != nil {
		return nil, errors.New("not a URL")
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, errors.New("not a http, https or file URL")
	}
	req := (&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}}).WithContext(ctx)
	if u.User != nil {
		// As a header it follows a redirection within the host, and stays out of net/http's errors.
		password, _ := u.User.Password()
		req.SetBasicAuth(u.User.Username(), password)
		u.User = nil
	}
	c.authorize(req)
	req.Header.Set("User-Agent", cmp.Or(c.UserAgent, "rootctl"))
	if r.Fresh {
		req.Header.Set("Cache-Control", "no-cache")
	}
	return req, nil
}

// attempts calls f until it succeeds, fails for good, or has been tried often enough.
func (c *Client) attempts(ctx context.Context, r Request, f func(ctx context.Context) error) error {
	n := cmp.Or(r.Attempts, c.Attempts, defaultAttempts)
	pause := cmp.Or(c.Backoff, defaultBackoff)
	for i := 1; ; i++ {
		err := f(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fail(r.URL, context.Cause(ctx))
		}
		if i >= n || !temporary(err) {
			return fail(r.URL, err)
		}
		if c.Log != nil {
			c.Log.Debug("try again", "url", RedactURL(r.URL), "attempt", i+1, "after", Redact(err.Error()))
		}
		wait := max(jitter(pause), retryAfter(err))
		pause = min(2*pause, maxBackoff)
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return fail(r.URL, context.Cause(ctx))
		case <-t.C:
		}
	}
}
