package reference

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/rootctl/rootctl/suites"
)

func TestReadCases(t *testing.T) {
	text := "# comment\n\ntree  bionic minbase  i386\nlist sid buildd amd64 include=a,b exclude=c added=d\n"
	all, err := ReadCases(strings.NewReader(text))
	if err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	if got := fmt.Sprint(all[0], ";", all[1]); got != "tree bionic minbase i386;list sid buildd amd64 include=a,b exclude=c added=d" {
		t.Errorf("read %s", got)
	}
	for _, bad := range []string{"tree bionic minbase", "forest bionic minbase amd64", "list bionic minbase amd64 include=", "list bionic minbase amd64 why=a"} {
		if _, err := ReadCases(strings.NewReader(bad)); err == nil {
			t.Errorf("taken: %s", bad)
		}
	}
}

// The table that is kept covers what is promised: trees of all suites that can be reached, and lists.
func TestCasesCover(t *testing.T) {
	f, err := os.Open("cases.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	all, err := ReadCases(f)
	if err != nil {
		t.Fatal(err)
	}
	set, err := suites.Load()
	if err != nil {
		t.Fatal(err)
	}
	have, lists := map[string]bool{}, 0
	for _, c := range all {
		if _, err := set.Lookup(c.Suite); err != nil {
			t.Errorf("line %d: %v", c.Line, err)
		}
		if have[c.String()] {
			t.Errorf("line %d stands twice", c.Line)
		}
		have[c.String()] = true
		if c.Kind == "list" && len(c.Include)+len(c.Exclude) > 0 {
			lists++
		}
	}
	var want []string
	for _, su := range strings.Fields("xenial bionic focal jammy noble resolute bullseye bookworm trixie forky sid") {
		want = append(want, "tree "+su+" minbase amd64")
		for _, v := range []string{"essential", "apt", "standard"} {
			want = append(want, "set "+su+" "+v+" amd64")
		}
	}
	for _, x := range strings.Fields("bionic/buildd bookworm/buildd noble/buildd trixie/buildd bionic/important xenial/important bookworm/important trixie/important") {
		want = append(want, "tree "+strings.Replace(x, "/", " ", 1)+" amd64")
	}
	for _, x := range strings.Fields("bionic/minbase bookworm/minbase noble/minbase trixie/minbase bookworm/important") {
		x = strings.Replace(x, "/", " ", 1)
		want = append(want, "users "+x+" amd64", "ways "+x+" amd64")
	}
	for _, w := range append(want, "tree bionic minbase i386", "twice bookworm important amd64") {
		if !have[w] {
			t.Errorf("no case %s", w)
		}
	}
	if lists < 10 {
		t.Errorf("%d cases of include and exclude", lists)
	}
}

func TestCompareLists(t *testing.T) {
	ours, theirs := CompareLists([]string{"a", "b", "d"}, []string{"b", "c", "d"})
	if fmt.Sprint(ours, theirs) != "[a] [c]" {
		t.Error(ours, theirs)
	}
}
