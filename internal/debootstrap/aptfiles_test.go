package debootstrap

import (
	"strings"
	"testing"
)

// What is written for apt depends on the suite's being archived, on its apt, and on the keys that signed.
func TestAptFiles(t *testing.T) {
	apt := func(v string) closure { return closure{Packages: []LockPackage{{Name: "apt", Version: v}}} }
	good, expired := LockRelease{Pocket: "release"}, LockRelease{Pocket: "updates", KeysExpired: true}
	for _, c := range []struct {
		summary  string
		archived bool
		apt      string
		releases []LockRelease
		line     string // what stands before the URL
		comments int
		conf     bool
	}{
		{"live", false, "1.6.1", []LockRelease{good}, "deb http", 0, false},
		{"live, an old apt, an expired key", false, "1.0.9.8", []LockRelease{expired}, "deb http", 0, false},
		{"archived", true, "1.1", []LockRelease{good}, "deb [check-valid-until=no] http", 1, false},
		{"archived, all keys expired", true, "1.4.11", []LockRelease{good, expired}, "deb [check-valid-until=no trusted=yes] http", 3, false},
		{"archived, an old apt", true, "1.0.9.8.6", []LockRelease{good}, "deb [check-valid-until=no] http", 1, true},
		{"archived, no apt", true, "", []LockRelease{good}, "deb [check-valid-until=no] http", 1, false},
	} {
		r := keyRequest(t)
		r.Suite.Archived = c.archived
		list := closure{}
		if c.apt != "" {
			list = apt(c.apt)
		}
		files := r.files(list, c.releases)
		text := files[0].Content
		if strings.Count(text, c.line) != 3 || strings.Count("\n"+text, "\n#") != c.comments || strings.Count(text, "\n") != 3+c.comments {
			t.Errorf("%s:\n%s", c.summary, text)
		}
		if (len(files) == 2) != c.conf || c.conf && !strings.Contains(files[1].Content, `Acquire::Check-Valid-Until "false";`) {
			t.Errorf("%s: files %+v", c.summary, files)
		}
		if says := strings.Contains(strings.Join(r.info(c.releases, nil).Exceptions, ""), "checks no signatures"); says != strings.Contains(text, "trusted=yes") {
			t.Errorf("%s: said to the user: %v", c.summary, says)
		}
	}
}
