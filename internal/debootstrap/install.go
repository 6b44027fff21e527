package debootstrap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/control"
	"github.com/rootctl/rootctl/internal/debootstrap/deb"
	"github.com/rootctl/rootctl/internal/debootstrap/dpkg"
	"github.com/rootctl/rootctl/internal/debootstrap/unpack"
)

// Stages of Install beside StageUnpack and StageConfigure.
const (
	StagePrepare = "prepare"
	StageClean   = "clean"
)

// InstallOptions say where and with what a Lock is installed.
type InstallOptions struct {
	// Tree is an empty directory of the caller's, which becomes the root. After an
	// error it holds a half-made one, with all temporary changes undone.
	Tree string
	// Open returns a package's .deb, verified, once it is there. It is called for
	// many packages at once; Install closes the file.
	Open func(ctx context.Context, p *LockPackage) (*os.File, error)
	Exec Executor
	Log  io.Writer // all output of maintainer scripts and dpkg; may be nil
	// Progress may be nil. It is never called twice at once.
	Progress func(Event)
	// Owners, if not nil, takes the owners that the disk cannot. Exec then does the same with what scripts ask for.
	Owners    *cache.Owners
	Unvouched bool // nobody has checked who made the packages, whatever the Lock says
	Workers   int  // packages unpacked at once; 0 is one a processor
	// Unpacked is called when most of the tree is there and dpkg begins to configure it; may be nil.
	Unpacked func()
	Base     *Result // the root that the Lock extends, leased; nil if it extends none
}

// Installed is what a manifest needs beside the tree.
type Installed struct {
	Epoch   int64         // no mtime is later
	Devices []cache.Entry // device nodes and fifos, which the tree does not hold
	Newest  int64         // newest mtime inside the packages
}

// Install makes a root of a Lock's packages: it unpacks them, has their
// maintainer scripts run by Exec, and removes what would make two roots of one
// Lock differ. It asks for nothing that is not in the Lock.
//
// Errors are *unpack.MemberError for a package that was refused and
// *ConfigureError for one whose script failed.
func Install(ctx context.Context, l *Lock, o InstallOptions) (_ *Installed, err error) {
	if err := l.Validate(); err != nil {
		return nil, err
	}
	t, err := unpack.Open(o.Tree)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	t.KeepOwners(o.Owners)
	in := newInstaller(l, o, t)
	defer in.closeFiles()
	if (l.Parent == nil) != (o.Base == nil) {
		return nil, errors.New("install: the root that the Lock extends and the one that is there do not agree")
	}
	stages, err := in.stages()
	if err != nil {
		return nil, err
	}
	if o.Base != nil {
		stages = in.onlyFresh(stages)
		err = in.adopt(ctx)
	} else if err = in.seed(); err == nil {
		err = in.firstStage(ctx, stages[0])
	}
	if err != nil {
		return nil, err
	}
	undo, err := in.prepare()
	defer func() {
		if e := undo.run(); e != nil && err == nil {
			err = in.undoFailed(e)
		}
	}()
	if err != nil {
		return nil, fmt.Errorf("prepare root: %w", err)
	}
	if err := in.configureAll(ctx, stages); err != nil {
		return nil, err
	}
	if err := undo.run(); err != nil {
		return nil, in.undoFailed(err)
	}
	return in.finish(ctx)
}

// installer is one run of Install.
type installer struct {
	InstallOptions
	lock  *Lock
	t     *unpack.Tree
	db    *dpkg.Database
	debs  *deb.Pool
	pkgs  map[string]*pkg
	ids   *unpack.IDs
	nodes []unpack.Node
	began int64 // Unix time

	before int                     // packages installed in Base
	below  map[string]*LockPackage // and which these are

	mu      sync.Mutex // guards what follows
	newest  int64
	done    int64
	started map[string]bool // packages dpkg has begun to configure
}

// pkg is a package on its way.
type pkg struct {
	*LockPackage
	file *os.File
	deb  *deb.Reader
	db   *dpkg.Package
}

func newInstaller(l *Lock, o InstallOptions, t *unpack.Tree) *installer {
	if o.Workers <= 0 {
		o.Workers = runtime.NumCPU()
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	in := &installer{
		InstallOptions: o, lock: l, t: t, db: dpkg.New(t, l.Rules.RootOrderMod), debs: new(deb.Pool),
		pkgs: make(map[string]*pkg, len(l.Packages)), started: map[string]bool{},
		began: time.Now().Unix(),
	}
	fresh := l.fresh()
	for i := range fresh {
		in.pkgs[fresh[i].Name] = &pkg{LockPackage: &fresh[i]}
	}
	if l.Parent != nil {
		in.below = make(map[string]*LockPackage, len(l.Parent.Packages))
		for i := range l.Parent.Packages {
			p := &l.Parent.Packages[i]
			in.below[p.Name] = p
		}
	}
	return in
}

func (in *installer) event(stage, item string, done, total int64) {
	if in.Progress == nil {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.Progress(Event{stage, item, done, total})
}

func (in *installer) closeFiles() {
	for _, p := range in.pkgs {
		p.close()
	}
}

func (p *pkg) close() {
	p.deb = nil
	if p.file != nil {
		p.file.Close()
		p.file = nil
	}
}

// slim gives back the decoders' memory before scripts run: to fork a container out of a process is to
// copy its page tables and then, as it goes on, its pages.
func (in *installer) slim() {
	in.debs = new(deb.Pool)
	runtime.GC() // what lies in a pool survives one collection
	debug.FreeOSMemory()
}

// stages are the names of the packages that are unpacked and configured
// together: all at once, or the required ones, then groups of the others.
func (in *installer) stages() ([][]string, error) {
	var all, required []string
	var nodes []dpkg.Node
	for i := range in.lock.Packages {
		p := &in.lock.Packages[i]
		all = append(all, p.Name)
		if p.Required {
			required = append(required, p.Name)
		}
		nodes = append(nodes, dpkg.Node{
			Name: p.Name, Required: p.Required,
			PreDepends: control.Field(p.Stanza, "Pre-Depends"),
			Depends:    control.Field(p.Stanza, "Depends"),
			Provides:   control.Field(p.Stanza, "Provides"),
		})
	}
	staged := in.lock.Staged || in.lock.Rules.StagedFor(in.lock.Variant)
	if !staged || len(required) == len(all) {
		return [][]string{all}, nil
	}
	groups, err := dpkg.Stages(nodes, in.lock.Rules.RootOrderMod, in.lock.Rules.DropDepends)
	if err != nil {
		return nil, err
	}
	return append([][]string{required}, groups...), nil
}

// seed makes what packages expect to find: the links of a merged tree, and an
// empty dpkg database.
func (in *installer) seed() error {
	var links, lazy []string
	if in.lock.Merged {
		links = []string{"bin", "sbin", "lib"}
		lazy = []string{"lib32", "lib64", "libo32", "libx32"}
	}
	dirs := append([]string{"/etc", "/usr/bin", "/usr/sbin", "/usr/lib"}, dpkg.Dirs()...)
	if err := in.t.Seed(dirs, links, lazy); err != nil {
		return err
	}
	return in.db.Init(in.available())
}

// open waits for a package's .deb and reads its control member.
func (in *installer) open(ctx context.Context, p *pkg) error {
	if p.db != nil {
		return nil
	}
	f, err := in.Open(ctx, p.LockPackage)
	if err != nil {
		return err
	}
	p.file = f
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	fail := func(err error) error { return fmt.Errorf("package %s: %w", p.Name, err) }
	if p.deb, err = in.debs.Open(f, fi.Size()); err != nil {
		return fail(err)
	}
	c, err := p.deb.Control()
	if err != nil {
		return fail(err)
	}
	if p.db, err = dpkg.Read(c); err != nil {
		return fail(err)
	}
	if err := p.check(control.Field(c.Paragraph, "Version")); err != nil {
		return fail(err)
	}
	p.db.Required = p.Required
	if p.Required {
		p.db.Priority, p.db.Section = p.Priority, p.Section
	}
	return nil
}

// check compares what the .deb says of itself with what the lock promised.
func (p *pkg) check(version string) error {
	var wrong []string
	for _, f := range [][3]string{
		{"name", p.db.Name, p.Name}, {"version", version, p.Version}, {"architecture", p.db.Arch, p.Arch},
	} {
		if f[1] != f[2] {
			wrong = append(wrong, fmt.Sprintf("%s %q, not %q", f[0], f[1], f[2]))
		}
	}
	if wrong != nil {
		return errors.New("the .deb is of " + strings.Join(wrong, ", "))
	}
	return nil
}
