package debootstrap

import (
	"errors"
	"strings"
	"testing"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// TestExtendKeeps: a root's packages stay as they are when another extends it. What would not fit is refused before
// anything is built, and nothing else is.
func TestExtendKeeps(t *testing.T) {
	for _, tt := range []struct {
		summary      string
		fields       map[string]string // of tool, which the child adds
		include      string            // beside tool
		refused      string
		warns, stays string
	}{
		{"an older one will do", map[string]string{"Depends": "hello (>= 0.5)"}, "", "", "", "1.0"},
		{"any will do", map[string]string{"Depends": "hello"}, "", "", "", "1.0"},
		{"a newer one is needed", map[string]string{"Depends": "hello (>= 2.0)"}, "", "tool needs hello (>= 2.0), which the selected version does not meet; there hello 1.0 stays, and is not replaced by 2.0", "", ""},
		{"a newer one is needed first", map[string]string{"Pre-Depends": "hello (>= 2.0)"}, "", "tool needs hello (>= 2.0)", "", ""},
		{"one of two", map[string]string{"Depends": "hello (>= 2.0) | dpkg"}, "", "", "", "1.0"},
		{"neither of two", map[string]string{"Depends": "hello (>= 2.0) | dpkg (>= 99)"}, "", "tool needs hello (>= 2.0) | dpkg (>= 99)", "", ""},
		{"what breaks the older", map[string]string{"Breaks": "hello (<< 2.0)"}, "", "tool breaks hello (<< 2.0)", "", ""},
		{"what conflicts with the older", map[string]string{"Conflicts": "hello (<< 1.5)"}, "", "tool conflicts hello (<< 1.5)", "", ""},
		{"the newer is asked for", nil, "hello", "", "hello 2.0 is not taken: the root that is extended has 1.0", "1.0"},
	} {
		t.Run(tt.summary, func(t *testing.T) {
			w := newSourceWorld(t)
			w.archive.Remove("hello")
			w.archive.Add(testarchive.Package{Name: "hello", Version: "1.0"}, testarchive.Package{Name: "greeter", Fields: map[string]string{"Depends": "hello"}})
			w.server.Set(w.archive)
			w.tools.Remove("tool")
			w.tools.Add(testarchive.Package{Name: "tool", Version: "1.2", Fields: tt.fields}, testarchive.Package{Name: "hello", Version: "2.0"})
			w.host.Set(w.tools)
			parent := w.req
			parent.Include, parent.Added = []string{"greeter"}, Additions{}
			w.req.Parent, w.req.Include = &parent, []string{"greeter", "tool"}
			if tt.include != "" {
				w.req.Include = append(w.req.Include, tt.include)
			}
			l, err := w.Lock(t.Context(), w.req)
			if tt.refused != "" {
				var usage *UsageError
				if !errors.As(err, &usage) || !strings.Contains(err.Error(), tt.refused) || !strings.Contains(usage.Hint(), "the root that is extended") {
					t.Errorf("%v, want %s", err, tt.refused)
				}
				w.req.Parent = nil // alone it fits
				if l, err := w.Lock(t.Context(), w.req); err != nil || len(l.Warnings) > 0 && !strings.Contains(tt.summary, "neither") {
					t.Errorf("without a parent: %v %v", err, l)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(l.Warnings, "; "); !strings.Contains(got, tt.warns) || tt.warns == "" && got != "" {
				t.Errorf("warnings %q", got)
			}
			for _, p := range l.Lock.Packages {
				if p.Name == "hello" && p.Version != tt.stays {
					t.Errorf("hello %s", p.Version)
				}
			}
		})
	}
}
