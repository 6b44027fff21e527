package fetch

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// net/http takes another port of a host for the same host; the user of a mirror's URL does not.
func TestPasswordStaysWithItsPort(t *testing.T) {
	var seen []string
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization"))
	}))
	defer other.Close()
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, _, ok := r.BasicAuth(); !ok {
			t.Error("the mirror itself was not given the password")
		}
		if r.URL.Path == "/far" {
			http.Redirect(w, r, other.URL+"/x", http.StatusFound)
		} else if r.URL.Path == "/near" {
			http.Redirect(w, r, "/x", http.StatusFound)
		}
	}))
	defer mirror.Close()
	base := strings.Replace(mirror.URL, "http://", "http://user:secret@", 1)
	var c Client
	for _, path := range []string{"/near", "/far"} {
		if _, err := c.Read(t.Context(), Request{URL: base + path, Attempts: 1}, 100, Validators{}); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) != 1 || seen[0] != "" {
		t.Errorf("the other port saw Authorization %q", seen)
	}
}
