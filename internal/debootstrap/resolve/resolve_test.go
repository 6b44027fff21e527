package resolve

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pkg writes an index paragraph; fields are "Name: value" lines.
func pkg(name, priority string, fields ...string) string {
	all := append([]string{"Package: " + name, "Priority: " + priority}, fields...)
	if !strings.Contains(strings.Join(all, "\n"), "\nVersion:") {
		all = append(all, "Version: 1")
	}
	return strings.Join(all, "\n") + "\n"
}

func source(pocket, component string, paragraphs ...string) Source {
	return Source{Pocket: pocket, Component: component, Data: strings.Join(paragraphs, "\n")}
}

func packageNames(ps []Package) string {
	var out []string
	for _, p := range ps {
		out = append(out, p.Name)
	}
	return strings.Join(out, " ")
}

func TestResolve(t *testing.T) {
	core := []string{pkg("dpkg", "required", "Pre-Depends: libc6 (>= 2.3)"), pkg("libc6", "optional", "Version: 2.27"), pkg("apt", "important", "Depends: libapt, gnupg | gpgv"),
		pkg("libapt", "optional", "Depends: libc6"), pkg("gpgv", "optional"), pkg("gnupg", "optional"), pkg("build-essential", "optional", "Depends: gcc:any, make [amd64] | make-guile"),
		pkg("gcc", "optional"), pkg("make", "optional")}
	with := func(more ...string) []Source {
		return []Source{source("release", "main", append(core[:len(core):len(core)], more...)...)}
	}
	tests := []struct {
		summary  string
		sources  []Source
		want     Want
		required string
		base     string
		warnings []string
	}{
		{summary: "required closure apart from apt's, first alternatives only", sources: with(), want: Want{Variant: "minbase"},
			required: "dpkg libc6", base: "apt gnupg libapt"},
		{summary: "buildd, architecture qualifiers and lists cut", sources: with(), want: Want{Variant: "buildd"},
			required: "dpkg libc6", base: "apt build-essential gcc gnupg libapt make"},
		{summary: "priority essential alone is not required", sources: with(pkg("ess", "optional", "Essential: yes")), want: Want{Variant: "minbase"},
			required: "dpkg libc6", base: "apt gnupg libapt"},
		{summary: "include pulls its closure, what is required stays there", sources: with(pkg("curl", "optional", "Depends: libcurl, libc6"), pkg("libcurl", "optional")),
			want: Want{Variant: "minbase", Include: []string{"curl"}}, required: "dpkg libc6", base: "apt curl gnupg libapt libcurl"},
		{summary: "exclude leaves the seeds, a dependency brings it back", sources: with(pkg("tzdata", "required"), pkg("init", "required", "Depends: gpgv")),
			want: Want{Variant: "minbase", Exclude: []string{"tzdata", "gpgv"}}, required: "dpkg gpgv init libc6", base: "apt gnupg libapt"},
		{summary: "dependency dropped by the suite's rules is not followed and not missed", sources: with(pkg("init", "required", "Depends: usrmerge"), pkg("usrmerge", "optional")),
			want: Want{Variant: "minbase", DropDepends: []string{"usrmerge"}}, required: "dpkg init libc6", base: "apt gnupg libapt"},
		{summary: "extra required only where the index has it", sources: with(pkg("usr-is-merged", "optional")),
			want: Want{Variant: "minbase", ExtraRequired: []string{"usr-is-merged", "other"}}, required: "dpkg libc6 usr-is-merged", base: "apt gnupg libapt"},
		{summary: "first alternative virtual, met by a selected provider: nothing added", sources: with(pkg("x", "required", "Depends: mta"), pkg("y", "required", "Provides: mta (= 1), other"), pkg("a-mta", "optional", "Provides: mta")),
			want: Want{Variant: "minbase"}, required: "dpkg libc6 x y", base: "apt gnupg libapt"},
		{summary: "first alternative missing: the next real one", sources: with(pkg("x", "required", "Depends: gone | gpgv")),
			want: Want{Variant: "minbase"}, required: "dpkg libc6 x", base: "apt gnupg gpgv libapt"},
		{summary: "no real alternative: provider of best priority, then by name", sources: with(pkg("x", "required", "Depends: awk"), pkg("gawk", "optional", "Provides: awk"), pkg("mawk", "standard", "Provides: awk"), pkg("bwk", "optional", "Provides: awk", "Depends: libbwk"), pkg("libbwk", "optional")),
			want: Want{Variant: "minbase"}, required: "dpkg libc6 x", base: "apt gnupg libapt mawk"},
		{summary: "nothing meets it: a warning", sources: with(pkg("x", "required", "Depends: nowhere (>= 3)")), want: Want{Variant: "minbase"},
			required: "dpkg libc6 x", base: "apt gnupg libapt", warnings: []string{"x depends on nowhere (>= 3), which no index has"}},
		{summary: "version not met, conflict inside the set", sources: with(pkg("x", "required", "Depends: libc6 (>= 9)", "Breaks: dpkg (<< 2)")), want: Want{Variant: "minbase"},
			required: "dpkg libc6 x", base: "apt gnupg libapt", warnings: []string{"x needs libc6 (>= 9), which the selected version does not meet", "x breaks dpkg (<< 2), which is selected"}},
	}
	for _, tt := range tests {
		t.Run(tt.summary, func(t *testing.T) {
			ix, err := NewIndex(tt.sources)
			if err != nil {
				t.Fatal(err)
			}
			tt.want.Arch = "amd64"
			got, err := Resolve(ix, tt.want)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff([]string{tt.required, tt.base}, []string{packageNames(got.Required), packageNames(got.Base)}); d != "" {
				t.Errorf("required, base (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tt.warnings, got.Warnings); d != "" {
				t.Errorf("warnings (-want +got):\n%s", d)
			}
		})
	}
}

func TestWhichParagraphCounts(t *testing.T) {
	ix, err := NewIndex([]Source{
		source("release", "main", pkg("a", "optional", "Version: 1"), pkg("a", "optional", "Version: 2"), pkg("b", "optional", "Version: 5"), pkg("c", "optional", "Version: 1.9")),
		source("release", "universe", pkg("b", "optional", "Version: 7")),
		source("updates", "main", pkg("c", "optional", "Version: 1.10"), pkg("b", "optional", "Version: 4")),
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "2 release", "b": "5 release", "c": "1.10 updates"} {
		p, _ := ix.Lookup(name)
		if got := p.Field("Version") + " " + p.Pocket; got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func TestUnknownInclude(t *testing.T) {
	ix, err := NewIndex([]Source{source("release", "main", pkg("dpkg", "required"), pkg("curl", "optional"), pkg("apt", "optional"))})
	if err != nil {
		t.Fatal(err)
	}
	_, err = Resolve(ix, Want{Variant: "minbase", Include: []string{"crul"}, Arch: "amd64"})
	var unknown *UnknownPackage
	if !errors.As(err, &unknown) || unknown.Hint() != "did you mean curl?" {
		t.Fatalf("got %v, want *UnknownPackage that proposes curl", err)
	}
}

// A virtual name cannot be included: who provides it is a choice to be made.
func TestVirtualInclude(t *testing.T) {
	ix, err := NewIndex([]Source{source("release", "main", pkg("dpkg", "required"), pkg("apt", "optional"), pkg("exim4", "optional", "Provides: mta, other"), pkg("postfix", "optional", "Provides: mta (= 1)"))})
	if err != nil {
		t.Fatal(err)
	}
	_, err = Resolve(ix, Want{Variant: "minbase", Include: []string{"mta", "nothing"}, Arch: "amd64"})
	var unknown *UnknownPackage
	if !errors.As(err, &unknown) || unknown.Hint() != "mta is a virtual package, provided by exim4, postfix: include one of these" || len(unknown.More) != 1 {
		t.Fatalf("got %v, want *UnknownPackage with the providers", err)
	}
}

func TestNoRequired(t *testing.T) {
	ix, err := NewIndex([]Source{source("release", "main", pkg("apt", "optional"))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Resolve(ix, Want{Variant: "minbase", Arch: "arm64"}); err == nil || !strings.Contains(err.Error(), "Priority required for architecture arm64") {
		t.Fatalf("got %v", err)
	}
}
