// Package registry keeps roots as images in an OCI registry and brings them back. Digests are checked here; what an
// image's annotations say is for the caller to judge.
package registry

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	oras "oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// A Ref names a repository, or an image in it.
type Ref struct {
	Host string // of the registry, with port if it has one
	Repo string
	Name string // a tag, or sha256:...; "" is the repository
}

func (r Ref) String() string {
	switch {
	case r.Name == "":
		return r.Host + "/" + r.Repo
	case strings.Contains(r.Name, ":"):
		return r.Host + "/" + r.Repo + "@" + r.Name
	}
	return r.Host + "/" + r.Repo + ":" + r.Name
}

// ParseRef reads HOST[:PORT]/REPOSITORY[:TAG|@DIGEST].
func ParseRef(text string) (Ref, error) {
	p, err := oras.ParseReference(strings.TrimPrefix(text, "docker://"))
	if err != nil || len(text) > 1024 {
		return Ref{}, &RefError{text}
	}
	return Ref{Host: p.Registry, Repo: p.Repository, Name: p.Reference}, nil
}

// A Login is what a registry is told; all empty is nobody.
type Login struct {
	User, Password string
	Identity       string // a refresh token
	Token          string // for the registry itself
}

// Options say how to reach registries.
type Options struct {
	TLS      *tls.Config // may be nil
	Proxy    func(*http.Request) (*url.URL, error)
	Login    func(ctx context.Context, host string) (Login, error) // asked when a registry wants one; may be nil
	Insecure bool                                                  // TLS is not verified, and plain HTTP will do
	Log      *slog.Logger
	Agent    string // User-Agent
	// TakeStall is how long the registry may take nothing of what is sent; 0 is a minute.
	TakeStall time.Duration
}

// A Repository is one in a registry. Its methods may be called from several goroutines.
type Repository struct {
	ref  Ref
	log  *slog.Logger
	http *auth.Client
	repo *remote.Repository

	insecure bool
	once     sync.Once
	failed   error // why there is no connection, after once
}

// Open prepares the use of ref's repository, and asks nobody yet.
func Open(ref Ref, o Options) (*Repository, error) {
	repo, err := remote.NewRepository(ref.Host + "/" + ref.Repo)
	if err != nil {
		return nil, &RefError{ref.String()}
	}
	conf := &tls.Config{}
	if o.TLS != nil {
		conf = o.TLS.Clone()
	}
	conf.InsecureSkipVerify = o.Insecure
	plain := &http.Transport{Proxy: o.Proxy, DialContext: dialer(cmp.Or(o.TakeStall, takeStall)), TLSClientConfig: conf, TLSHandshakeTimeout: 15 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10,
		ExpectContinueTimeout: time.Second, WriteBufferSize: 64 << 10, DisableCompression: true}
	r := &Repository{ref: ref, log: o.Log, repo: repo, insecure: o.Insecure}
	r.http = &auth.Client{Client: &http.Client{Transport: &patient{next: plain, log: o.Log}}, Cache: auth.NewCache(), ClientID: "rootctl",
		Header: http.Header{"User-Agent": {o.Agent}}}
	if o.Login != nil {
		r.http.Credential = func(ctx context.Context, host string) (auth.Credential, error) {
			l, err := o.Login(ctx, host)
			return auth.Credential{Username: l.User, Password: l.Password, RefreshToken: l.Identity, AccessToken: l.Token}, err
		}
	}
	if o.Insecure || Loopback(ref.Host) {
		r.http.BlockedRealmPrefixes = []netip.Prefix{}
	}
	repo.Client, repo.SkipReferrersGC, repo.MaxMetadataBytes = r.http, true, maxManifest
	return r, nil
}

// Ref is what was opened.
func (r *Repository) Ref() Ref { return r.ref }

// Loopback reports whether a host, with or without port, is this machine itself.
func Loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback()
	}
	return host == "localhost"
}

// Connect opens a connection and learns how the registry wants to be spoken to, once; whoever comes later waits for that.
// All other methods call it.
func (r *Repository) Connect(ctx context.Context) error {
	r.once.Do(func() {
		err := r.ping(ctx)
		if err != nil && r.insecure && plainHTTP(err) {
			r.repo.PlainHTTP = true
			err = r.ping(ctx)
		}
		r.failed = err
	})
	return r.failed
}

// ping asks for nothing. A refusal for want of rights to all of the registry says nothing of the repository.
func (r *Repository) ping(ctx context.Context) error {
	ctx = auth.AppendRepositoryScope(ctx, r.repo.Reference, auth.ActionPull)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url(""), nil)
	if err != nil {
		return r.fail("reach", err)
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return r.fail("reach", err)
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusUnauthorized {
		return r.fail("reach", &statusError{resp.StatusCode, ""})
	}
	return nil
}

// url is an address below the registry's, or with a path below the repository's.
func (r *Repository) url(path string) string {
	scheme := "https"
	if r.repo.PlainHTTP {
		scheme = "http"
	}
	u := scheme + "://" + r.repo.Reference.Host() + "/v2/"
	if path == "" {
		return u
	}
	return u + r.ref.Repo + path
}

// scoped lets a token be asked for that is good for pulling, or for both.
func (r *Repository) scoped(ctx context.Context, push bool) context.Context {
	actions := []string{auth.ActionPull}
	if push {
		actions = append(actions, auth.ActionPush)
	}
	return auth.AppendRepositoryScope(ctx, r.repo.Reference, actions...)
}

func (r *Repository) fail(op string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return &Error{Op: op, Ref: r.ref.String(), Err: plainError(err)}
}

// RefError is a reference that is none.
type RefError struct{ Text string }

func (e *RefError) Error() string {
	return fmt.Sprintf("%q is no reference of a registry", clip(e.Text))
}

// Hint is the next step.
func (e *RefError) Hint() string {
	return "HOST[:PORT]/REPOSITORY[:TAG], in lower case: registry.example.org/ci/roots"
}
