package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// TestRealRootless builds as ordinary users what root builds, and has apt install something in it.
func TestRealRootless(t *testing.T) {
	r := newReal(t)
	args := map[string][]string{"bionic": {"bionic"}, "kept": {"bookworm", "--keep-mirror", "--allow-expired", "--tag", "kept"}}
	want := map[string]string{}
	for name, a := range args {
		want[name] = r.buildSuite(t, a...).Digest
	}
	for _, kind := range []string{"range", "single"} {
		o := r.as(t, kind == "single")
		for name, a := range args {
			out, errs, code := o.run(t, append([]string{"build", "--json"}, a...)...)
			var b buildReport
			if code != 0 || json.Unmarshal([]byte(out), &b) != nil || b.Cached {
				t.Fatalf("%s: build %v: exit code %d, %s%s", kind, a, code, out, errs)
			}
			if b.Digest != want[name] {
				t.Errorf("%s: %s is %s, root's %s", kind, name, b.Digest, want[name])
			}
			o.must(t, "run", name, "--", "sh", "-c", consistent)
			got := o.must(t, "run", "-q", "--net=host", name, "--", "sh", "-c",
				"apt-get update -qq -o Acquire::Retries=3 >&2 && apt-get install -qq -y file >/dev/null 2>&1 && file -b /bin/sh && dpkg --audit")
			if !strings.Contains(got, "link") {
				t.Errorf("%s: %s: apt-get install: %q", kind, name, got)
			}
		}
		o.checkLeft(t, kind)
		os.RemoveAll(o.home)
	}
}
