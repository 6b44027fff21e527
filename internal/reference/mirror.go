// Package reference is what the developers' programs below it share: a partial mirror, the building of
// reference roots with debootstrap and mmdebstrap, and the comparison of trees. No part of rootctl
// imports it.
package reference

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/rootctl/rootctl/suites"
)

// Mirror serves a folder laid out as a mirror (debian/dists/..., ubuntu/pool/...) and fetches what is
// missing from upstream. Bytes are kept as they came, and what is there is never asked for again: the
// first InRelease freezes its suite, signature and all.
type Mirror struct {
	Dir       string
	Upstreams map[string][]string // base URLs by first folder, asked in order
	Offline   bool                // never asks upstream
	Client    *http.Client        // nil: one with time-outs
	Log       func(format string, args ...any)

	fetching singleflight.Group
	mu       sync.Mutex
	absent   map[string]bool // answered 404 by every upstream while this process runs
}

var errAbsent = errors.New("no upstream has it")

// attempts is how often an upstream that errs is asked for one file.
const attempts = 3

func (m *Mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/")
	f, err := m.open(r.Context(), name)
	switch {
	case errors.Is(err, errAbsent) || errors.Is(err, os.ErrNotExist):
		http.Error(w, "no such file", http.StatusNotFound)
		return
	case err != nil:
		m.log("%s: %v", name, err)
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer f.Close() //nolint:errcheck // only read
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		http.Error(w, "no such file", http.StatusNotFound)
		return
	}
	http.ServeContent(w, r, name, fi.ModTime(), f)
}

// open returns the local file, fetched first when it is missing.
func (m *Mirror) open(ctx context.Context, name string) (*os.File, error) {
	full := filepath.Join(m.Dir, filepath.FromSlash(name))
	f, err := os.Open(full)
	if err == nil || !errors.Is(err, os.ErrNotExist) {
		return f, err
	}
	if m.Offline {
		return nil, err
	}
	m.mu.Lock()
	absent := m.absent[name]
	m.mu.Unlock()
	if absent {
		return nil, errAbsent
	}
	// One client's going away must not fail the others that wait for the same file.
	_, err, _ = m.fetching.Do(name, func() (any, error) {
		return nil, m.fetch(context.WithoutCancel(ctx), name, full)
	})
	if err != nil {
		return nil, err
	}
	return os.Open(full)
}

func (m *Mirror) fetch(ctx context.Context, name, full string) error {
	folder, rest, _ := strings.Cut(name, "/")
	bases := m.Upstreams[folder]
	if len(bases) == 0 || rest == "" {
		return errAbsent
	}
	var last error
	for _, base := range bases {
		for n := range attempts {
			err := m.fetchFrom(ctx, base+"/"+rest, full)
			if err == nil {
				return nil
			}
			if errors.Is(err, errAbsent) {
				break
			}
			last = err
			time.Sleep(time.Duration(n) * 200 * time.Millisecond)
		}
	}
	if last != nil {
		return last
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.absent == nil {
		m.absent = map[string]bool{}
	}
	m.absent[name] = true
	return errAbsent
}

func (m *Mirror) fetchFrom(ctx context.Context, url, full string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := m.client().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusGone:
		return errAbsent
	default:
		return fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	if err := m.store(resp, full); err != nil {
		return fmt.Errorf("GET %s: %w", url, err)
	}
	m.log("fetched %s", url)
	return nil
}

// store puts the body under its name by one rename, with upstream's time, which clients compare.
func (m *Mirror) store(resp *http.Response, full string) error {
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(full), ".part-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) //nolint:errcheck // gone after the rename
	n, err := io.Copy(tmp, resp.Body)
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil && resp.ContentLength >= 0 && n != resp.ContentLength {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	if err := os.Chmod(tmp.Name(), 0o644); err != nil {
		return err
	}
	if t, err := http.ParseTime(resp.Header.Get("Last-Modified")); err == nil {
		if err := os.Chtimes(tmp.Name(), t, t); err != nil {
			return err
		}
	}
	return os.Rename(tmp.Name(), full)
}

func (m *Mirror) client() *http.Client {
	if m.Client != nil {
		return m.Client
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Client = &http.Client{Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		ResponseHeaderTimeout: 30 * time.Second,
		MaxIdleConnsPerHost:   8,
		// A body must be kept as the server has it: no transparent decoding of Packages.gz.
		DisableCompression: true,
	}}
	return m.Client
}

func (m *Mirror) log(format string, args ...any) {
	if m.Log != nil {
		m.Log(format, args...)
	}
}

// Listen serves the mirror on addr ("127.0.0.1:0" for any port of loopback) and returns its URL. stop
// ends it and waits.
func (m *Mirror) Listen(addr string) (base string, stop func(), err error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return "", nil, err
	}
	s := &http.Server{Handler: m, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l) // ErrServerClosed: stop was called
	}()
	return "http://" + l.Addr().String(), func() {
		_ = s.Close() // the listener's error changes nothing here
		<-done
	}, nil
}

// Forget removes what freezes the suites (dists/SUITE in every folder), so that they are fetched anew.
func (m *Mirror) Forget(suites ...string) error {
	for _, s := range suites {
		found, err := filepath.Glob(filepath.Join(m.Dir, "*", "dists", s))
		if err != nil {
			return err
		}
		for _, f := range found {
			if err := os.RemoveAll(f); err != nil {
				return err
			}
		}
	}
	return nil
}

// Folder is the folder of the mirror that stands for a public mirror: the last element of its path.
func Folder(mirror string) string {
	u, err := url.Parse(mirror)
	if err != nil {
		return ""
	}
	return path.Base(u.Path)
}

var aptURL = regexp.MustCompile(`\bhttps?://[^\s\]]+`)

// Upstreams returns, by folder, where files may be fetched from: the host's own apt sources first
// where they hold the same folder, then the public mirrors that the suites name for the architecture.
func Upstreams(set *suites.Set, arch string, aptSources ...string) map[string][]string {
	up := map[string][]string{}
	var public []string
	for _, su := range set.All() {
		public = append(public, su.MirrorsFor(arch)...)
		for _, p := range su.Pockets {
			public = append(public, p.MirrorsFor(arch)...)
		}
	}
	known := map[string]bool{}
	for _, u := range public {
		known[Folder(u)] = true
	}
	var all []string
	for _, file := range aptSources {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // an unreadable source is one upstream fewer
		}
		all = append(all, aptURL.FindAllString(string(text), -1)...)
	}
	for _, u := range append(all, public...) {
		u = strings.TrimRight(u, "/")
		if f := Folder(u); known[f] && !slices.Contains(up[f], u) {
			up[f] = append(up[f], u)
		}
	}
	return up
}

// HostAptSources lists the host's files that name apt sources.
func HostAptSources() []string {
	files := []string{"/etc/apt/sources.list"}
	for _, pattern := range []string{"/etc/apt/sources.list.d/*.list", "/etc/apt/sources.list.d/*.sources", "/etc/apt/mirrors/*"} {
		found, err := filepath.Glob(pattern)
		if err == nil {
			files = append(files, found...)
		}
	}
	return files
}
