package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
)

// stated is what the tests read of a statement.
type stated struct {
	Type    string `json:"_type"`
	Subject []struct {
		Name   string
		Digest struct{ SHA256 string }
	}
	PredicateType string
	Predicate     struct {
		BuildDefinition struct {
			BuildType            string
			ExternalParameters   map[string]any
			InternalParameters   map[string]any
			ResolvedDependencies []struct {
				Name, URI   string
				Digest      struct{ SHA256 string }
				Annotations map[string]any
			}
		}
		RunDetails struct {
			Builder  struct{ Version map[string]string }
			Metadata struct{ StartedOn, FinishedOn time.Time }
		}
	}
}

func (r *real) stated(t *testing.T, name string) (s stated) {
	t.Helper()
	text := r.must(t, "provenance", name)
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	var b struct{ Digest string }
	if err := json.Unmarshal([]byte(r.must(t, "show", "--json", name)), &b); err != nil {
		t.Fatal(err)
	}
	if s.Type != "https://in-toto.io/Statement/v1" || s.PredicateType != "https://slsa.dev/provenance/v1" || len(s.Subject) != 1 || "sha256:"+s.Subject[0].Digest.SHA256 != b.Digest {
		t.Errorf("%s: %.400s", name, text)
	}
	if strings.Contains(text, "s3cret") {
		t.Errorf("%s: a password is in the statement", name)
	}
	return s
}

// TestProvenance: what a build was made of, when and by whom is written down, outside of keys and digests; what is not
// known is not said.
func TestProvenance(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	t.Setenv("ROOTCTL_STATE", filepath.Join(t.TempDir(), "state", "containers"))
	f := newFixture(t)
	r := &real{f, filepath.Join(t.TempDir(), "cache")}
	f.server.User, f.server.Password = "builder", "s3cret"
	guarded := strings.Replace(f.server.URL, "http://", "http://builder:s3cret@", 1)
	before := time.Now().Add(-time.Second).Truncate(time.Second)
	for i, w := range f.args {
		if w == f.server.URL {
			f.args[i] = guarded
		}
	}
	f.build(t, r.dir)
	s := r.stated(t, "fixture")
	def, run := s.Predicate.BuildDefinition, s.Predicate.RunDetails
	if !strings.HasSuffix(def.BuildType, "/build@v1") || def.ExternalParameters["suite"] != "bionic" || def.InternalParameters["users"] != "root" {
		t.Errorf("%+v", def)
	}
	if v := run.Builder.Version["rootctl"]; v == "" || !strings.Contains(r.must(t, "version"), v) || run.Metadata.StartedOn.Before(before) || run.Metadata.FinishedOn.Before(run.Metadata.StartedOn) || time.Since(run.Metadata.FinishedOn) < 0 {
		t.Errorf("since %s: %+v", before, run)
	}
	first := def.ResolvedDependencies[0]
	if first.Name != "Release of bionic" || !strings.HasPrefix(first.URI, f.server.URL+"/dists/bionic") || len(first.Digest.SHA256) != 64 ||
		first.Annotations["date"] == nil || first.Annotations["signed_by"] == nil {
		t.Errorf("%+v", first)
	}
	for _, d := range def.ResolvedDependencies[1:] {
		if len(d.Digest.SHA256) != 64 || !strings.HasPrefix(d.Name, "file ") && !strings.HasPrefix(d.URI, f.server.URL+"/pool/") {
			t.Errorf("%+v", d)
		}
	}

	// A cache of before has nothing of times and versions, and neither has a damaged record.
	key, _ := def.InternalParameters["key"].(string)
	record := filepath.Join(r.dir, "actions", string(cache.Sum([]byte("witness "+s.Subject[0].Digest.SHA256+" "+key))))
	if err := os.Truncate(record, 100); err != nil {
		t.Fatal(err)
	}
	if s := r.stated(t, "fixture"); s.Predicate.RunDetails.Builder.Version != nil || !s.Predicate.RunDetails.Metadata.StartedOn.IsZero() ||
		s.Predicate.RunDetails.Metadata.FinishedOn.IsZero() || len(s.Predicate.BuildDefinition.ResolvedDependencies) != len(def.ResolvedDependencies) {
		t.Errorf("%+v", s.Predicate.RunDetails)
	}
	if out, _, code := r.rootctl(t, "cache", "verify"); code != codeFailed || !strings.Contains(out, filepath.Base(record)[:12]) {
		t.Errorf("cache verify: code %d\n%s", code, out)
	}
	if out := r.must(t, slices.Concat(f.args, []string{"--json"})...); !strings.Contains(out, `"cached": true`) {
		t.Errorf("it was built again: %s", out)
	}

	tar := filepath.Join(t.TempDir(), "x.tar")
	r.must(t, "export", "fixture", "-o", tar)
	r.must(t, "import", tar, "--tag", "moved")
	if d := r.stated(t, "moved").Predicate.BuildDefinition; !strings.HasSuffix(d.BuildType, "/import@v1") || d.ExternalParameters["from"] != "x.tar" || d.ResolvedDependencies != nil {
		t.Errorf("%+v", d)
	}
	r.must(t, "run", "--keep", "--name", "work", "fixture", "--", "sh", "-c", "echo >/new")
	r.must(t, "commit", "work", "changed")
	if d := r.stated(t, "changed").Predicate.BuildDefinition; !strings.HasSuffix(d.BuildType, "/commit@v1") || d.ResolvedDependencies[0].Digest != s.Subject[0].Digest {
		t.Errorf("%+v", d)
	}
}
