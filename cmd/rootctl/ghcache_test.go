package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// ghCache is a service on loopback that keeps entries as GitHub's does: one is never written again, it is found by its
// whole key, else the newest by a prefix, and only by those who name the same path.
type ghCache struct {
	*httptest.Server
	mu      sync.Mutex
	entries []ghEntry // oldest first
	tries   int       // to write one
}

type ghEntry struct {
	key, version string // the version is that of the paths
	body, whole  []byte // what is given, and what was written
}

func newGHCache(t *testing.T) *ghCache {
	c := &ghCache{}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *ghCache) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := r.URL.Query()
	version := q.Get("version")
	if r.Method == http.MethodPost {
		c.tries++
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if slices.ContainsFunc(c.entries, func(e ghEntry) bool { return e.key == q.Get("key") && e.version == version }) {
			http.Error(w, "an entry has this key", http.StatusConflict)
			return
		}
		c.entries = append(c.entries, ghEntry{q.Get("key"), version, body, body})
		return
	}
	for _, key := range q["key"] { // the first is the key itself
		if e := c.find(key, version); e != nil {
			w.Header().Set("Matched-Key", e.key)
			_, _ = w.Write(e.body)
			return
		}
	}
	http.NotFound(w, r)
}

func (c *ghCache) find(key, version string) *ghEntry {
	for _, exact := range []bool{true, false} {
		for i := len(c.entries) - 1; i >= 0; i-- {
			e := &c.entries[i]
			if e.version == version && (e.key == key || !exact && strings.HasPrefix(e.key, key)) {
				return e
			}
		}
	}
	return nil
}

// damage changes all that is kept.
func (c *ghCache) damage(change func([]byte) []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.entries {
		c.entries[i].body = change(bytes.Clone(c.entries[i].whole))
	}
}

func (c *ghCache) count() (entries, tries int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries), c.tries
}

// ghCacheStep is actions/cache/restore and actions/cache/save for a single file.
type ghCacheStep struct {
	service, path, key string
	restoreKeys        []string
}

// newGHCacheStep refuses what those actions refuse.
func newGHCacheStep(service string, with map[string]string) (*ghCacheStep, error) {
	s := &ghCacheStep{service: service, path: strings.TrimSpace(with["path"]), key: with["key"]}
	for line := range strings.Lines(with["restore-keys"]) {
		if line = strings.TrimSpace(line); line != "" {
			s.restoreKeys = append(s.restoreKeys, line)
		}
	}
	for name := range with {
		if !slices.Contains([]string{"path", "key", "restore-keys"}, name) {
			return nil, fmt.Errorf("the cache's input %s is not known", name)
		}
	}
	if s.path == "" || strings.ContainsAny(s.path, "\n*") {
		return nil, fmt.Errorf("%q is not the path of one file", s.path)
	}
	for _, key := range append([]string{s.key}, s.restoreKeys...) {
		if key == "" || len(key) > 512 || strings.Contains(key, ",") {
			return nil, fmt.Errorf("%q is no key: it is empty, longer than 512 or has a comma", key)
		}
	}
	return s, nil
}

func (s *ghCacheStep) url(keys ...string) string {
	return s.service + "/?" + url.Values{"key": keys, "version": {fmt.Sprintf("%x", sha256.Sum256([]byte(s.path)))}}.Encode()
}

// restore gives the step's outputs.
func (s *ghCacheStep) restore() (map[string]string, error) {
	out := map[string]string{"cache-primary-key": s.key, "cache-hit": ""}
	r, err := http.Get(s.url(append([]string{s.key}, s.restoreKeys...)...))
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	if r.StatusCode == http.StatusNotFound {
		return out, nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		return nil, errors.Join(err, errors.New(r.Status))
	}
	out["cache-matched-key"] = r.Header.Get("Matched-Key")
	out["cache-hit"] = fmt.Sprint(out["cache-matched-key"] == s.key)
	return out, os.WriteFile(s.path, body, 0o644)
}

func (s *ghCacheStep) save() error {
	body, err := os.ReadFile(s.path)
	if err != nil {
		return err
	}
	r, err := http.Post(s.url(s.key), "application/octet-stream", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK && r.StatusCode != http.StatusConflict { // the action only warns of the latter
		return errors.New(r.Status)
	}
	return nil
}
