package resolve

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The six variants of one archive. What each takes of "a | b" and of virtual names shows whose rules it
// follows.
func TestVariants(t *testing.T) {
	ix, err := NewIndex([]Source{source("release", "main",
		pkg("dpkg", "required", "Essential: yes", "Pre-Depends: libc6 (>= 2)"), pkg("libc6", "optional", "Version: 2"),
		pkg("init", "important", "Essential: yes", "Depends: awk"),
		pkg("mawk", "standard", "Provides: awk"), pkg("gawk", "optional", "Provides: awk"),
		pkg("mount", "required", "Depends: gone | libmount"), pkg("libmount", "optional"),
		pkg("apt", "important", "Depends: gnupg | gpgv, key (>= 2) | keyring"), pkg("gpgv", "optional"), pkg("gnupg", "optional"),
		pkg("key", "optional"), pkg("keyring", "optional"),
		pkg("build-essential", "optional", "Depends: gcc"), pkg("gcc", "optional"),
		pkg("cron", "important", "Depends: default-mta | mail-transport-agent"), pkg("exim", "optional", "Provides: mail-transport-agent"),
		pkg("less", "standard", "Depends: pager | gnupg"), pkg("more", "required", "Provides: pager"),
	)})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ variant, required, base string }{
		// apt: a version that does not suit is no alternative.
		{"essential", "dpkg init libc6 mawk", ""},
		{"apt", "dpkg init libc6 mawk", "apt gnupg keyring"},
		// debootstrap: Essential counts for nothing, and the first real alternative for all.
		{"minbase", "dpkg libc6 more mount", "apt gnupg key libmount"},
		{"buildd", "dpkg libc6 more mount", "apt build-essential gcc gnupg key libmount"},
		{"important", "dpkg libc6 more mount", "apt cron exim gnupg init key libmount mawk"},
		// apt: more provides the pager, so less needs nothing.
		{"standard", "dpkg init libc6 libmount mawk more mount", "apt cron exim gnupg keyring less"},
	}
	var known []string
	for _, tt := range tests {
		got, err := Resolve(ix, Want{Variant: tt.variant, Arch: "amd64"})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]string{tt.required, tt.base}, []string{packageNames(got.Required), packageNames(got.Base)}); d != "" {
			t.Errorf("%s: required, base (-want +got):\n%s", tt.variant, d)
		}
		known = append(known, tt.variant)
	}
	if got := Variants(); !slices.Equal(got, known) {
		t.Errorf("Variants: %v, tested are %v", got, known)
	}
	if Canonical("-") != "important" || Canonical("apt") != "apt" {
		t.Error("- is not important, or apt is not apt")
	}
	if _, err := Resolve(ix, Want{Variant: "-", Arch: "amd64"}); err == nil {
		t.Error("resolved a variant that is not canonical")
	}
}

// The rules of a suite and the wishes of the user hold for the variants that follow apt too.
func TestLikeApt(t *testing.T) {
	core := []string{pkg("dpkg", "required", "Essential: yes"), pkg("apt", "important", "Depends: libapt"), pkg("libapt", "optional")}
	tests := []struct {
		summary        string
		more           []string
		want           Want
		required, base string
		warnings       []string
	}{
		{summary: "a dropped dependency is no alternative", want: Want{Variant: "essential", DropDepends: []string{"usrmerge"}},
			more:     []string{pkg("init", "optional", "Essential: yes", "Depends: usrmerge | usr-is-merged"), pkg("usrmerge", "optional"), pkg("usr-is-merged", "optional")},
			required: "dpkg init usr-is-merged"},
		{summary: "include and exclude", want: Want{Variant: "apt", Include: []string{"curl"}, Exclude: []string{"apt"}},
			more: []string{pkg("curl", "optional", "Depends: libapt, tls"), pkg("tls", "optional")}, required: "dpkg", base: "curl libapt tls"},
		{summary: "the first set is complete before the second is begun", want: Want{Variant: "apt", Include: []string{"gawk"}},
			more: []string{pkg("base", "optional", "Essential: yes", "Pre-Depends: awk"), pkg("gawk", "optional", "Provides: awk"),
				pkg("mawk", "required", "Provides: awk")}, required: "base dpkg mawk", base: "apt gawk libapt"},
		{summary: "a selected later alternative meets the relation", want: Want{Variant: "standard", Include: []string{"x"}},
			more:     []string{pkg("x", "optional", "Depends: other | apt"), pkg("other", "optional")},
			required: "dpkg", base: "apt libapt x"},
		{summary: "nothing meets it: a warning", want: Want{Variant: "apt", Include: []string{"x"}},
			more: []string{pkg("x", "optional", "Depends: nowhere | libapt (>= 7)")}, required: "dpkg", base: "apt libapt x",
			warnings: []string{"x needs nowhere | libapt (>= 7), which the selected version does not meet"}},
		{summary: "a cycle ends", want: Want{Variant: "essential"}, more: []string{pkg("a", "optional", "Essential: yes", "Depends: b"), pkg("b", "optional", "Depends: a")},
			required: "a b dpkg"},
	}
	for _, tt := range tests {
		t.Run(tt.summary, func(t *testing.T) {
			ix, err := NewIndex([]Source{source("release", "main", append(slices.Clone(core), tt.more...)...)})
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
