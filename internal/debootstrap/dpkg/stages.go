package dpkg

import (
	"fmt"
	"hash/fnv"
	"slices"
	"sort"

	"github.com/rootctl/rootctl/internal/debootstrap/control"
)

// Node is what the staging of a package reads of it.
type Node struct {
	Name                          string
	Required                      bool
	PreDepends, Depends, Provides string // fields as they stand
}

// Stages splits the base packages into the groups in which debootstrap has dpkg
// unpack and configure them, after the required ones: for each package with a
// pre-dependency that is not met yet, the deepest such and what it needs; then
// all the rest. The order of the groups decides which uid a package gets.
//
// mod is the size of dpkg's hash table, in whose order debootstrap asks for
// pre-dependencies; dropped names are followed by nobody.
func Stages(nodes []Node, mod uint32, dropped []string) ([][]string, error) {
	g, err := newGraph(nodes, dropped)
	if err != nil {
		return nil, err
	}
	var base []string
	for _, n := range nodes {
		if !n.Required {
			base = append(base, n.Name)
		}
	}
	sort.Slice(base, func(i, j int) bool {
		a, b := bucket(base[i], mod), bucket(base[j], mod)
		if a != b {
			return a < b
		}
		return base[i] < base[j]
	})
	var stages [][]string
	for _, n := range base {
		for !g.done[n] {
			p := g.unmet(n)
			if p == "" {
				break
			}
			group := g.closure(g.deepest(p))
			if len(group) == 0 {
				return nil, fmt.Errorf("stages: pre-dependency %s of %s cannot be met", p, n)
			}
			stages = append(stages, group)
			for _, x := range group {
				g.done[x] = true
			}
		}
	}
	var rest []string
	for _, n := range base {
		if !g.done[n] {
			rest = append(rest, n)
		}
	}
	sort.Strings(rest)
	if len(rest) > 0 {
		stages = append(stages, rest)
	}
	return stages, nil
}

func bucket(name string, mod uint32) uint32 {
	h := fnv.New32a()
	h.Write([]byte(name))
	if mod == 0 {
		mod = 65521
	}
	return h.Sum32() % mod
}

type graph struct {
	nodes    map[string]*graphNode
	provided map[string][]string // sorted
	dropped  map[string]bool
	done     map[string]bool // required ones from the start
}

type graphNode struct {
	required bool
	pre      []control.Relation
	needs    []string // first alternatives of Depends and Pre-Depends
}

func newGraph(nodes []Node, dropped []string) (*graph, error) {
	g := &graph{
		nodes: map[string]*graphNode{}, provided: map[string][]string{},
		dropped: map[string]bool{}, done: map[string]bool{},
	}
	for _, d := range dropped {
		g.dropped[d] = true
	}
	for _, n := range nodes {
		x := &graphNode{required: n.Required}
		g.nodes[n.Name] = x
		if n.Required {
			g.done[n.Name] = true
		}
		var rel [3][]control.Relation
		for i, field := range []string{n.Depends, n.PreDepends, n.Provides} {
			var err error
			if rel[i], err = control.ParseRelations(field); err != nil {
				return nil, fmt.Errorf("stages: %s: %w", n.Name, err)
			}
		}
		x.pre = rel[1]
		for _, r := range slices.Concat(rel[0], rel[1]) {
			x.needs = append(x.needs, r[0].Name)
		}
		for _, r := range rel[2] {
			for _, a := range r {
				g.provided[a.Name] = append(g.provided[a.Name], n.Name)
			}
		}
	}
	for _, p := range g.provided {
		sort.Strings(p)
	}
	return g, nil
}

// unmet returns a package that would meet the first unmet pre-dependency of n,
// or "".
func (g *graph) unmet(n string) string {
	for _, rel := range g.nodes[n].pre {
		var can []string
		for _, a := range rel {
			if g.nodes[a.Name] != nil {
				can = append(can, a.Name)
			}
			can = append(can, g.provided[a.Name]...)
		}
		if len(can) > 0 && !slices.ContainsFunc(can, func(c string) bool { return g.done[c] }) {
			return can[0]
		}
	}
	return ""
}

// deepest follows unmet pre-dependencies from p; a cycle ends where it closes.
func (g *graph) deepest(p string) string {
	seen := map[string]bool{}
	for {
		seen[p] = true
		next := g.unmet(p)
		if next == "" || seen[next] {
			return p
		}
		p = next
	}
}

// closure is p and all it needs that is not done, sorted.
func (g *graph) closure(p string) []string {
	seen := map[string]bool{}
	for queue := []string{p}; len(queue) > 0; {
		x := queue[0]
		queue = queue[1:]
		if seen[x] || g.nodes[x] == nil {
			continue
		}
		seen[x] = true
		for _, n := range g.nodes[x].needs {
			if !g.dropped[n] {
				queue = append(queue, n)
			}
		}
	}
	for x := range seen {
		if g.done[x] {
			delete(seen, x)
		}
	}
	return sortedKeys(seen)
}

func sortedKeys(m map[string]bool) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
