package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/rootctl/rootctl/internal/debootstrap/fetch"
	"github.com/rootctl/rootctl/internal/debootstrap/pgp"
)

// message fetches InRelease, or where there is none Release and Release.gpg. It is marked unchanged if
// what have stands for is still so.
func (a *Archive) message(ctx context.Context, p *Pocket, i int, have fetch.Validators, fresh bool) (m message, v fetch.Validators, err error) {
	get := func(name string, have fetch.Validators) (fetch.Document, error) {
		r := a.request(p, i, "dists/"+p.Suite+"/"+name)
		if r.Fresh = fresh; i < p.end(i)-1 {
			r.Attempts = 1
		}
		return a.o.Client.Read(ctx, r, maxRelease, have)
	}
	doc, err := get("InRelease", have)
	if err == nil {
		return message{Inline: append([]byte{}, doc.Body...), unchanged: doc.NotModified}, doc.Validators, nil
	}
	if !errors.Is(err, fetch.ErrNotFound) {
		return m, v, err
	}
	if doc, err = get("Release", fetch.Validators{}); err != nil {
		return m, v, err
	}
	m.Text = doc.Body
	if !a.o.NoVerify {
		if doc, err = get("Release.gpg", fetch.Validators{}); errors.Is(err, fetch.ErrNotFound) {
			err = &pgp.Untrusted{Reasons: []string{"Release is not signed"}}
		}
		m.Sig = doc.Body
	}
	return m, v, err
}

// request is for a path below a mirror. While others are left, a mirror that fails is not asked often.
func (a *Archive) request(p *Pocket, i int, path string) fetch.Request {
	r := fetch.Request{URL: p.mirrors[i] + "/" + escape(path), OnBytes: a.o.OnBytes, Attempts: 2}
	if i == p.end(i)-1 {
		r.Attempts = cmp.Or(a.o.Client.Attempts, 3)
	}
	return r
}

// escape percent-encodes all but unreserved characters and slashes: some servers take a + for a blank.
func escape(path string) string {
	var b strings.Builder
	for _, c := range []byte(path) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._~/", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func checkMirror(m string) error {
	u, err := url.Parse(m)
	switch {
	case err != nil:
		return errors.New("the mirror's URL cannot be parsed")
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "file":
		return errors.New("a mirror is a http, https or file URL")
	case u.RawQuery != "" || u.Fragment != "" || u.Scheme != "file" && u.Host == "":
		return errors.New("a mirror's URL is scheme, host and path")
	}
	return nil
}

// Refresh reads the Release of every pocket again from the mirror in use, or if that is of no use any
// more from the next, and reports whether a Release or a mirror has changed. Nothing else may use the
// archive meanwhile.
func (a *Archive) Refresh(ctx context.Context) (changed bool, err error) {
	if changed, err = a.refreshBeside(ctx); err != nil {
		return changed, err
	}
	for _, p := range a.Pockets {
		r, err := a.release(ctx, p, p.at, true)
		switch {
		case ctx.Err() != nil:
			return changed, context.Cause(ctx)
		case err != nil:
			if a.open(ctx, p, p.at+1) != nil {
				return changed, fmt.Errorf("read Release of %s again: %w", p.Suite, err)
			}
			changed = true
		case r.Digest != p.Release.Digest:
			changed = true
			p.use(p.at, r)
		}
	}
	return changed, nil
}

// NextMirror lets the pockets of which something did not match its Release, or all if there is none
// such, go on to their next mirror that works. Nothing else may use the archive meanwhile.
func (a *Archive) NextMirror(ctx context.Context) error {
	some := false
	for _, p := range a.Pockets {
		some = some || p.stale
	}
	for _, p := range a.Pockets {
		if some && !p.stale {
			continue
		}
		if err := a.open(ctx, p, p.at+1); err != nil {
			return err
		}
	}
	return nil
}
