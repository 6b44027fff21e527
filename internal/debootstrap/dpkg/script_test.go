package dpkg

import (
	"strings"
	"testing"
)

func TestIsNoop(t *testing.T) {
	for _, tc := range []struct {
		script string
		want   bool
	}{
		{"#!/bin/sh\nset -e\n\n# comment\nexit 0\n", true},
		{"#! /bin/sh -e\n:\n", true},
		{"#!/bin/sh\nset -e\ndpkg-maintscript-helper rm_conffile /etc/x 1.0~ -- \"$@\"\n", true},
		{"#!/bin/sh\ndpkg-maintscript-helper symlink_to_dir \\\n /usr/share/doc/x y 1 x -- \"$@\"\nexit 0\n", true},
		{"#!/bin/sh\ndpkg-maintscript-helper rm_conffile /etc/x 1.0~ -- \"$@\" && rm /x\n", false},
		{"#!/bin/sh\ndpkg-maintscript-helper rm_conffile $(touch /x) -- \"$@\"\n", false},
		{"#!/bin/sh\ndpkg-maintscript-helper rm_conffile `touch /x`\n", false},
		{"#!/bin/sh\nset -e\nif true; then\n:\nfi\n", false},
		{"#!/bin/sh\nexit 0; touch /x\n", false},
		{"#!/usr/bin/perl\n# nothing\n", false},
		{"#!/bin/sh -x /etc/evil\n", false},
		{"\x7fELF", false},
		{"", false},
	} {
		if got := IsNoop([]byte(tc.script)); got != tc.want {
			t.Errorf("%q: %v, want %v", tc.script, got, tc.want)
		}
	}
}

func TestPreinstOrder(t *testing.T) {
	got := strings.Join(PreinstOrder([]string{"zlib", "bash", "debconf", "base-files", "libc6", "base-passwd", "apt"}), " ")
	if want := "base-passwd base-files libc6 debconf apt bash zlib"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestStages(t *testing.T) {
	nodes := []Node{
		{Name: "libc6", Required: true},
		{Name: "a", PreDepends: "b (>= 1), libc6", Depends: "x"},
		{Name: "b", PreDepends: "c | d"},
		{Name: "c", Depends: "e:any, gone | libc6, dropped"},
		{Name: "e", Depends: "c"},
		{Name: "x", PreDepends: "virtual"},
		{Name: "p", Provides: "virtual (= 1), other"},
		{Name: "dropped"},
		{Name: "rest"},
	}
	for mod, want := range map[uint32]string{
		// With one bucket the names decide: a asks for c, then b; x for p.
		1: "c e; b; p; a dropped rest x",
	} {
		got, err := Stages(nodes, mod, []string{"dropped"})
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, g := range got {
			all = append(all, strings.Join(g, " "))
		}
		if s := strings.Join(all, "; "); s != want {
			t.Errorf("mod %d: %s, want %s", mod, s, want)
		}
	}
	// A cycle of pre-dependencies ends.
	got, err := Stages([]Node{{Name: "a", PreDepends: "b"}, {Name: "b", PreDepends: "a"}}, 8191, nil)
	if err != nil || len(got) == 0 {
		t.Errorf("cycle: %v %v", got, err)
	}
	if _, err := Stages([]Node{{Name: "a", Depends: "b ((1)"}}, 8191, nil); err == nil {
		t.Error("bad relation: no error")
	}
}

// The order of names is that of dpkg's hash table; the numbers are FNV-1a's
// published test vectors modulo the table's size.
func TestBucket(t *testing.T) {
	for _, tc := range []struct {
		name string
		mod  uint32
		want uint32
	}{
		{"", 8191, 0x811c9dc5 % 8191},
		{"a", 8191, 0xe40c292c % 8191},
		{"foobar", 65521, 0xbf9cf968 % 65521},
	} {
		if got := bucket(tc.name, tc.mod); got != tc.want {
			t.Errorf("%q mod %d: %d, want %d", tc.name, tc.mod, got, tc.want)
		}
	}
}
