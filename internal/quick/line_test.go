package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is not here belongs to the whole program.
func TestParse(t *testing.T) {
	for _, c := range []struct {
		words string
		want  *line
	}{
		{"run bionic true", &line{verb: "run", name: "bionic", argv: []string{"true"}}},
		{"run bionic -- -x", &line{verb: "run", name: "bionic", argv: []string{"-x"}}},
		{"run bionic:i386 ls -l", &line{verb: "run", name: "bionic:i386", argv: []string{"ls", "-l"}}},
		{"run --no-build --upper=tmpfs --net none --env A=b --env=C= bionic sh", &line{verb: "run", name: "bionic", argv: []string{"sh"}, env: []string{"A=b", "C="}, inMemory: true}},
		{"run --upper tmpfs --upper disk bionic sh", &line{verb: "run", name: "bionic", argv: []string{"sh"}}},
		{"exec --env A=b web id", &line{verb: "exec", name: "web", argv: []string{"id"}, env: []string{"A=b"}}},
		{"run", nil},
		{"run bionic", nil},
		{"run bionic --", nil},
		{"run bionic -x", nil},
		{"run bionic --net=host true", nil},
		{"run -- bionic true", nil},
		{"run --net=host bionic true", nil},
		{"run --net", nil},
		{"run --upper", nil},
		{"run --upper=tmpfs:size=1GB bionic true", nil},
		{"run --env HOME bionic env", nil},
		{"run --env =x bionic env", nil},
		{"run --no-build=false bionic true", nil},
		{"run --help bionic true", nil},
		{"run -d bionic true", nil},
		{"run ../bionic true", nil},
		{"run a/b true", nil},
		{"run . true", nil},
		{"exec --upper=tmpfs web true", nil},
		{"exec web", nil},
		{"ls bionic true", nil},
	} {
		got, ok := parse(strings.Fields(c.words))
		if ok != (c.want != nil) {
			t.Errorf("%s: taken: %v", c.words, ok)
		} else if ok {
			if d := cmp.Diff(*c.want, got, cmp.AllowUnexported(line{})); d != "" {
				t.Errorf("%s: %s", c.words, d)
			}
		}
	}
}
