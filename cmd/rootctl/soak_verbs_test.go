package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// A soakVerb is one thing that processes do. make returns its arguments, and what to hold against the output of
// those that ended well and of those that were killed: "" if it is right.
type soakVerb struct {
	name    string
	weight  int
	typical time.Duration // how long it takes, to begin with
	make    func(*soak, *rand.Rand) (args []string, judge func(ended) string)
}

func soakVerbs() []soakVerb {
	return []soakVerb{
		{"build", 8, 400 * time.Millisecond, func(s *soak, r *rand.Rand) ([]string, func(ended) string) {
			w := s.any(r)
			return append([]string{"build", "-q", "--include", w.include, "--tag", w.name}, s.args...), nil
		}},
		{"build json", 4, 400 * time.Millisecond, func(s *soak, r *rand.Rand) ([]string, func(ended) string) {
			w := s.any(r)
			return append([]string{"build", "-q", "--json", "--include", w.include}, s.args...), func(e ended) string {
				if !e.killed && !strings.Contains(e.out, `"sha256:`+w.digest+`"`) {
					return e.out
				}
				return ""
			}
		}},
		{"run", 4, 60 * time.Millisecond, func(s *soak, r *rand.Rand) ([]string, func(ended) string) {
			w := s.any(r)
			return []string{"run", w.name, "--", "sh", "-c", "for f in /usr/share/soak/*; do test ! -e $f || cat $f; done; echo > /usr/new; rm -r /usr/share"}, func(e ended) string {
				if e.out == w.text || e.killed && strings.HasPrefix(w.text, e.out) {
					return ""
				}
				return fmt.Sprintf("%q, want %q", e.out, w.text)
			}
		}},
		{"tag", 2, 15 * time.Millisecond, func(s *soak, r *rand.Rand) ([]string, func(ended) string) {
			return []string{"tag", s.any(r).name, fmt.Sprint("t", r.IntN(4))}, nil
		}},
		{"untag", 2, 15 * time.Millisecond, func(s *soak, r *rand.Rand) ([]string, func(ended) string) {
			if r.IntN(2) == 0 {
				return []string{"untag", s.any(r).name}, nil
			}
			return []string{"untag", fmt.Sprint("t", r.IntN(4))}, nil
		}},
		{"ls", 1, 15 * time.Millisecond, func(*soak, *rand.Rand) ([]string, func(ended) string) { return []string{"ls", "--json"}, nil }},
	}
}

func (s *soak) any(r *rand.Rand) soakRoot { return s.want[r.IntN(len(s.want))] }

// prepare makes what the verbs need of the undisturbed cache.
func (s *soak) prepare(t *testing.T, calm string) {}
