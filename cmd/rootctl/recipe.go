package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/debootstrap/recipe"
	"github.com/rootctl/rootctl/internal/debootstrap/resolve"
	"github.com/rootctl/rootctl/suites"
)

func (s *selection) recipeFile() string { return cmp.Or(s.file, recipe.DefaultName) }

// recipe is the one of --file, else that of the current folder, nil if there is none.
func (s *selection) recipe() (*recipe.Recipe, error) {
	name := s.recipeFile()
	if s.file == "" {
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
	}
	r, err := recipe.Read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, withHint(&flagError{fmt.Errorf("read recipe %s: %w", name, fs.ErrNotExist)}, "docs/recipes.md says what it looks like")
	}
	var wrong *recipe.Error
	if errors.As(err, &wrong) {
		return nil, &flagError{err}
	}
	if err != nil {
		return nil, withHint(err, "%s is a text file that you can read", name)
	}
	return r, nil
}

// recipeRoot is the recipe's root of a name, nil if it has none. A broken recipe that nobody named hides no suite.
func (s *selection) recipeRoot(a *app, name string) (*recipe.Root, error) {
	if s.lockFile != "" {
		return nil, nil
	}
	r, err := s.recipe()
	if err != nil && s.file == "" {
		if set, e := a.suites(); e == nil {
			if _, e := parseName(set, name); e == nil {
				return nil, nil
			}
		}
	}
	if err != nil {
		return nil, err
	}
	root, ok := r.Find(name)
	if !ok {
		return nil, nil
	}
	if err := a.checkTag(root.Tag); err != nil {
		return nil, withHint(fmt.Errorf("%s: [root.%s]: %w", s.recipeFile(), root.Name, err), `give it another name: tag = "my-%s"`, root.Tag)
	}
	return root, nil
}

// orOfRecipe adds the recipe's names to the error for one that is no suite's.
func (s *selection) orOfRecipe(name string, err error) error {
	r, e := s.recipe()
	if e != nil || r == nil || s.lockFile != "" {
		return err
	}
	if near := suites.Near(name, r.Names()); len(near) > 0 {
		return withHint(err, "%s has %s: did you mean that?", s.recipeFile(), strings.Join(near, " and "))
	}
	names := r.Names()
	return withHint(err, "%s has %s; rootctl suites lists the suites", s.recipeFile(), strings.Join(names[:min(10, len(names))], ", "))
}

// recipeRequest is what a recipe's root asks for, with the flags that say where from and whom to trust.
func (s *selection) recipeRequest(a *app, set *suites.Set, root *recipe.Root) (debootstrap.Request, error) {
	if s.variant != "" || s.arch != "" || len(s.pockets)+len(s.components)+len(s.include)+len(s.exclude) > 0 || s.keepMirror {
		return debootstrap.Request{}, withHint(&flagError{fmt.Errorf("what %s is made of stands in %s", root.Tag, s.recipeFile())},
			"drop the flags that select packages, or say it there")
	}
	fail := func(err error) (debootstrap.Request, error) {
		return debootstrap.Request{}, fmt.Errorf("%s: [root.%s]: %w", s.recipeFile(), root.Name, err)
	}
	if root.Extends != "" {
		return s.extending(a, set, root)
	}
	own := *s
	own.variant, own.arch, own.pockets, own.components = root.Variant, root.Arch, root.Pockets, root.Comps
	own.include, own.exclude = root.Include, root.Exclude
	if err := judgeRoot(set, root); err != nil {
		return debootstrap.Request{}, err
	}
	r, err := own.suiteRequest(a, set, root.Suite)
	if err != nil {
		return fail(err)
	}
	r.Tag, r.Added = root.Tag, additions(root)
	r.Added.Salt = cmp.Or(s.salt, root.CacheSalt)
	return r, nil
}

// judgeRoot finds suites, variants, architectures and pockets that there are not, and says where in the recipe they stand.
func judgeRoot(set *suites.Set, root *recipe.Root) error {
	wrong := func(key, next, format string, args ...any) error {
		return &flagError{root.Wrong(key, fmt.Sprintf(format, args...), next)}
	}
	r, err := parseName(set, root.Suite)
	if err != nil {
		return fmt.Errorf("%s%w", root.Wrong("suite", "", "").Error(), err)
	}
	if word := suiteWord(set, root.Suite); r.Suite.Role != "" && r.Suite.Role == word {
		return wrong("suite", fmt.Sprintf("name the release: suite = %q", r.Suite.Codename), "suite %s moves from one release to the next", word)
	}
	if v := root.Variant; v != "" && !slices.Contains(resolve.Variants(), resolve.Canonical(v)) {
		next := "known variants: " + strings.Join(resolve.Variants(), ", ")
		if near := suites.Near(v, resolve.Variants()); len(near) > 0 {
			next = fmt.Sprintf("did you mean %s? %s", strings.Join(near, " or "), next)
		}
		return wrong("variant", next, "unknown variant %q", v)
	}
	if err := checkArch(r.Arch); err != nil {
		return wrong("suite", hintOf(err), "%v", err)
	}
	if err := checkArch(root.Arch); root.Arch != "" && err != nil {
		return wrong("arch", hintOf(err), "%v", err)
	}
	for i, p := range root.Pockets {
		if _, ok := r.Suite.Pocket(p); !ok && p != "release" {
			var known []string
			for _, k := range r.Suite.Pockets {
				known = append(known, k.Name)
			}
			next := "its pockets: " + strings.Join(append([]string{"release"}, known...), ", ")
			if near := suites.Near(p, known); len(near) > 0 {
				next = fmt.Sprintf("did you mean %s? %s", strings.Join(near, " or "), next)
			}
			return wrong(fmt.Sprintf("pockets[%d]", i), next, "%s has no pocket %q", r.Suite.Codename, p)
		}
	}
	return nil
}

// extending is the request of a root that extends another of its recipe: what the parent asks for, and more packages.
func (s *selection) extending(a *app, set *suites.Set, root *recipe.Root) (r debootstrap.Request, err error) {
	above, err := s.recipeRoot(a, root.Extends)
	if err == nil && above == nil {
		err = fmt.Errorf("%s has no [root.%s]", s.recipeFile(), root.Extends) // edited this moment
	}
	if err != nil {
		return r, err
	}
	parent, err := s.recipeRequest(a, set, above)
	if err != nil {
		return r, err
	}
	r = parent
	r.Parent, r.Tag, r.Added = &parent, root.Tag, additions(root)
	r.Added.Sources = slices.Concat(parent.Added.Sources, r.Added.Sources)
	r.Include = slices.Concat(parent.Include, root.Include)
	r.Added.Salt = cmp.Or(s.salt, root.CacheSalt)
	return r, nil
}

func additions(root *recipe.Root) (out debootstrap.Additions) {
	for _, f := range root.Files {
		out.Files = append(out.Files, debootstrap.AddedFile{Path: f.Path, Mode: f.Mode, Owner: f.Owner, Content: f.Content})
	}
	for _, s := range root.Sources {
		out.Sources = append(out.Sources, debootstrap.Source{Name: s.Name, URL: s.URL, Suite: s.Suite, Components: s.Components, Packages: s.Packages, Key: s.Key})
	}
	for _, h := range root.Hooks {
		out.Hooks = append(out.Hooks, debootstrap.Hook{When: h.When, Name: h.Name, Script: h.Script, Env: h.Env, Network: h.Network})
	}
	return out
}

// recipeNetwork has a recipe's network be that of run, unless --net says another.
func (s *selection) recipeNetwork(a *app, name string, net *pflag.Flag) error {
	network, err := s.netOfRecipe(a, name, net.Changed)
	if err != nil || network == "" {
		return err
	}
	return net.Value.Set(network)
}

// netOfRecipe is the network that a recipe gives its root of that name, "" if it gives none or the user did.
func (s *selection) netOfRecipe(a *app, name string, given bool) (string, error) {
	if given {
		return "", nil
	}
	root, err := s.recipeRoot(a, name)
	if err != nil || root == nil {
		return "", err
	}
	return root.Network, nil
}

// buildArgs wants one name, with --lock any number, and none where there is a recipe.
func (s *selection) buildArgs(c *cobra.Command, given []string) error {
	if len(given) > 0 || s.lockFile != "" {
		return s.nameArgs(c, given)
	}
	if _, err := os.Lstat(s.recipeFile()); err == nil || s.file != "" {
		return nil
	}
	verb := c.CommandPath()
	return withHint(&flagError{fmt.Errorf("%s: no SUITE is named, and there is no %s here", strings.TrimPrefix(verb, c.Root().Name()+" "), recipe.DefaultName)},
		"name one: %s bionic (rootctl suites lists them), or describe roots in %s: docs/recipes.md", verb, recipe.DefaultName)
}

// recipeFlags are build's own flags as they go with a recipe's roots.
type recipeFlags struct {
	tag                    string
	hostUsers, json, layer bool
	remote                 *remoteFlags
}

// buildRecipe builds all roots of the recipe, each after the one that it extends.
func (a *app) buildRecipe(ctx context.Context, sel *selection, fl recipeFlags) error {
	r, err := sel.recipe()
	if err != nil {
		return err
	}
	if fl.tag != "" {
		return withHint(&flagError{fmt.Errorf("one --tag for all roots of %s", sel.recipeFile())}, "name one root, or say tag = %q there", fl.tag)
	}
	set, err := a.suites()
	if err != nil {
		return err
	}
	var reqs []debootstrap.Request
	for _, name := range r.Names() { // all are judged before one is built
		req, err := sel.request(a, set, name)
		if err != nil {
			return err
		}
		reqs = append(reqs, req)
	}
	store, err := a.openStore()
	if err != nil {
		return err
	}
	var done bool
	if done, a.enterErr = a.enterToMount(); done {
		return nil
	}
	reports := []any{}
	for _, req := range reqs {
		report, err := a.buildOfRecipe(ctx, store, req, fl)
		if err != nil && fl.json { // what was made before it is told, too
			f := a.tell(ctx, err)
			a.exit = f.Code
			reports = append(reports, f)
			break
		}
		if err != nil {
			return err
		}
		reports = append(reports, report)
	}
	if fl.json {
		return a.printJSON(reports)
	}
	return nil
}

func (a *app) buildOfRecipe(ctx context.Context, store *cache.Store, req debootstrap.Request, fl recipeFlags) (r buildReport, err error) {
	b, err := a.build(ctx, store, req, buildOptions{hostUsers: fl.hostUsers, remote: fl.remote})
	if err != nil {
		return r, err
	}
	defer b.Lease.Close()
	if fl.layer {
		if err := a.writeLayer(ctx, store, b); err != nil {
			return r, err
		}
	}
	if !fl.json {
		a.closingLine(b)
	}
	return newBuildReport(b), nil
}
