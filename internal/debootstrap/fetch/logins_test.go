package fetch

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func loginFor(t *testing.T, l Logins, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	user, password, ok := l.For(u)
	if !ok {
		return ""
	}
	return user + ":" + password
}

// The rows of apt_auth.conf(5), its counter-examples among them.
func TestAptAuth(t *testing.T) {
	const target = "https://example.org/debian/dists/bookworm/InRelease"
	for _, c := range []struct{ summary, text, url, want string }{
		{"on lines", "machine example.org\nlogin apt\npassword debian\n", target, "apt:debian"},
		{"on one line", "machine example.org login apt password debian", target, "apt:debian"},
		{"a path is a prefix", "machine example.org/deb login apt password debian", target, "apt:debian"},
		{"the path", "machine example.org/debian login apt password debian", target, "apt:debian"},
		{"the path with a slash", "machine example.org/debian/ login apt password debian", target, "apt:debian"},
		{"a port that the URL does not name", "machine example.org:443 login apt password debian", target, ""},
		{"another folder", "machine example.org/deb/ login apt password debian", target, ""},
		{"another path", "machine example.org/ubuntu login apt password debian", target, ""},
		{"a longer name", "machine example.orga login apt password debian", target, ""},
		{"another host", "machine example.net login apt password debian", target, ""},
		{"a subdomain", "machine example.org login apt password debian", "https://www.example.org/", ""},
		{"without a scheme not for http", "machine example.org login apt password debian", "http://example.org/debian", ""},
		{"with http", "machine http://example.org login apt password debian", "http://example.org/debian", "apt:debian"},
		{"http is not https", "machine http://example.org login apt password debian", target, ""},
		{"https is not http", "machine https://example.org login apt password debian", "http://example.org/debian", ""},
		{"no port is any port", "machine example.org login apt password debian", "https://example.org:8443/", "apt:debian"},
		{"a port", "machine example.org:8443/x login apt password debian", "https://example.org:8443/x/y", "apt:debian"},
		{"another port", "machine example.org:8443 login apt password debian", "https://example.org:8444/", ""},
		{"IPv6", "machine [::1]:8443 login a password b", "https://[::1]:8443/", "a:b"},
		{"letter case of the host", "machine Example.ORG login a password b", target, "a:b"},
		{"the longest path wins", "machine example.org login a password a\nmachine example.org/debian login b password b\nmachine example.org/deb login c password c", target, "b:b"},
		{"of equals the first", "machine example.org login a password a\nmachine example.org login b password b", target, "a:a"},
		{"comments", "# machine example.org login no password no\nmachine example.org login a # password x\npassword #b", target, "a:#b"},
		{"unknown words", "protocol x machine example.org frobnicate login a password b", target, "a:b"},
		{"words for values", "machine example.org login machine password login", target, "machine:login"},
		{"no login", "machine example.org password b", target, ""},
		{"cut off", "machine", target, ""},
		{"cut off later", "machine example.org login", target, ""},
	} {
		if got := loginFor(t, ParseAptAuth(c.text), c.url); got != c.want {
			t.Errorf("%s: %q, want %q", c.summary, got, c.want)
		}
	}
}

func TestNetrc(t *testing.T) {
	l := ParseNetrc("macdef init\ncd /machine h login no\n\nmachine h login \"an na\" password \"s \\\"3\\\" t\" account x\n" +
		"machine i:8080 login j password \"\"\ndefault login all password everywhere\n")
	for raw, want := range map[string]string{
		"http://h/x": `an na:s "3" t`, "https://h:1/": `an na:s "3" t`, "http://i:8080/": "j:", "http://i/": "",
		"http://other/": "", // default would give the password to every mirror
	} {
		if got := loginFor(t, l, raw); got != want {
			t.Errorf("%s: %q, want %q", raw, got, want)
		}
	}
}

// A redirection within the server takes the login along, one to another port is given only what is meant
// for that port; a URL's own login goes first.
func TestLoginsAndRedirects(t *testing.T) {
	var seen []string
	note := func(r *http.Request) {
		user, password, _ := r.BasicAuth()
		seen = append(seen, r.URL.Path+" "+user+":"+password)
	}
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { note(r) }))
	defer other.Close()
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		note(r)
		switch r.URL.Path {
		case "/far":
			http.Redirect(w, r, strings.Replace(other.URL, "http://", "http://evil:evil@", 1)+"/far", http.StatusFound)
		case "/known":
			http.Redirect(w, r, other.URL+"/known", http.StatusFound)
		case "/near":
			http.Redirect(w, r, "/x", http.StatusFound)
		}
	}))
	defer mirror.Close()
	logins := ParseAptAuth("machine " + mirror.URL + " login ours password s3cret\nmachine " + other.URL + "/known login theirs password 0ther\n")
	c := Client{Auth: logins.For}
	for _, path := range []string{"/near", "/far", "/known"} {
		if _, err := c.Read(t.Context(), Request{URL: mirror.URL + path, Attempts: 1}, 100, Validators{}); err != nil {
			t.Fatal(err)
		}
	}
	own := strings.Replace(mirror.URL, "http://", "http://url:own@", 1) + "/"
	if _, err := c.Read(t.Context(), Request{URL: own, Attempts: 1}, 100, Validators{}); err != nil {
		t.Fatal(err)
	}
	want := "/near ours:s3cret, /x ours:s3cret, /far ours:s3cret, /far :, /known ours:s3cret, /known theirs:0ther, / url:own"
	if got := strings.Join(seen, ", "); got != want {
		t.Errorf("seen\n%s\nwant\n%s", got, want)
	}
}

func FuzzLogins(f *testing.F) {
	f.Add("machine h:1/p login a password b # c\nmacdef x\n\n\"q\\\"\"", "https://h:1/p/q")
	f.Fuzz(func(t *testing.T, text, raw string) {
		u, err := url.Parse(raw)
		if err != nil {
			return
		}
		for _, l := range []Logins{ParseNetrc(text), ParseAptAuth(text)} {
			if _, _, ok := l.For(u); ok && !strings.Contains(strings.ToLower(text), strings.ToLower(u.Hostname())) {
				t.Fatalf("a login for %q out of %q", raw, text)
			}
		}
	})
}
