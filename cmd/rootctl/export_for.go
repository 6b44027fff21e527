package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
	"github.com/rootctl/rootctl/internal/debootstrap"
)

// The tools that --for knows.
const (
	toolSbuild   = "sbuild"
	toolPbuilder = "pbuilder"
	toolSchroot  = "schroot"
)

// Where root's tools look.
const (
	pbuilderTgz   = "/var/cache/pbuilder/base.tgz"
	schrootRoots  = "/srv/chroot"
	schrootConfig = "/etc/schroot/chroot.d"
)

// forTool turns --for into what to write, and where.
func (e *exporting) forTool() error {
	p := &e.plan
	if p.tool == "" {
		return nil
	}
	if err := e.nameable(); err != nil {
		return err
	}
	name := e.info.Suite + "-" + e.info.Arch
	switch p.tool {
	case toolSbuild:
		return e.forSbuild(name)
	case toolPbuilder:
		p.next = "pbuilder build PACKAGE.dsc"
		if p.given {
			p.next = "pbuilder build --basetgz " + shellWord(p.output) + " PACKAGE.dsc"
		} else {
			p.output = pbuilderTgz
		}
		p.format, p.compress = formatTar, snapshot.Gzip
	case toolSchroot:
		return e.forSchroot(name)
	}
	return e.wantsBuildd()
}

// nameable refuses a record, which may be restored or of an imported root, whose words would lead a path or a line of
// configuration astray.
func (e *exporting) nameable() error {
	for _, w := range []string{e.info.Suite, e.info.Arch} {
		if oneWord(w) != w {
			return withHint(fmt.Errorf("its record says %q where suite and architecture are to be", w), "import or build it again, or write it without --for")
		}
	}
	if !e.plan.given && e.plan.tool != toolPbuilder && (e.info.Suite == "" || e.info.Arch == "") {
		return withHint(errors.New("it does not say of which suite and architecture it is, by which "+e.plan.tool+" finds it"), "name a file with -o")
	}
	return nil
}

// forToolAfter does what has to follow the export.
func (e *exporting) forToolAfter(ctx context.Context, rep *exportReport) error {
	p := &e.plan
	if p.next != "" {
		rep.Next = p.next
	}
	if p.stanza == "" {
		return nil
	}
	out, err := e.createOutput(ctx, p.stanza)
	if err != nil {
		return err
	}
	defer out.close()
	if _, err := out.Write([]byte(p.stanzaText)); err != nil {
		return err
	}
	if err := out.finish(); err != nil {
		return err
	}
	e.say("wrote %s", p.stanza)
	return nil
}

// wantsBuildd says where a root lacks what packages are built with.
func (e *exporting) wantsBuildd() error {
	if e.info.Variant != "buildd" {
		e.say("note: packages are built in roots of variant buildd, and this one is %s: rootctl build %s-buildd", e.info.Variant, e.info.Suite)
	}
	return nil
}

// forSbuild is for its unshare mode, which looks in the user's cache folder for SUITE-ARCH.t*.
func (e *exporting) forSbuild(name string) error {
	p := &e.plan
	p.format = formatTar
	p.next = "sbuild --chroot-mode=unshare -d " + shellWord(e.info.Suite)
	if e.info.Arch != hostArch() {
		p.next += " --arch=" + shellWord(e.info.Arch)
	}
	if p.given {
		abs, err := filepath.Abs(p.output)
		if err != nil {
			return err
		}
		p.next += " -c " + shellWord(abs) + " PACKAGE.dsc"
		return e.wantsBuildd()
	}
	p.next += " PACKAGE.dsc"
	p.compress = snapshot.Zstd
	dir, owner, err := e.sbuildFolder()
	if err != nil {
		return err
	}
	p.output, p.owner = filepath.Join(dir, name+".tar.zst"), owner
	others, _ := filepath.Glob(filepath.Join(dir, name+".t*")) // the pattern is good
	for _, o := range others {
		if o != p.output {
			return withHint(fmt.Errorf("%s is there as well, and sbuild takes either", o), "remove it, or name another file with -o")
		}
	}
	return e.wantsBuildd()
}

// sbuildFolder makes the folder that sbuild looks in, of the user behind sudo if there is one.
func (e *exporting) sbuildFolder() (string, *user.User, error) {
	base, home := e.getenv("XDG_CACHE_HOME"), e.getenv("HOME")
	owner := e.behindSudo()
	if owner != nil {
		base, home = "", owner.HomeDir // sudo's environment is not theirs
	}
	if !filepath.IsAbs(base) {
		if home == "" {
			return "", nil, withHint(errors.New("find sbuild's folder: neither XDG_CACHE_HOME nor HOME is set"), "name a file with -o")
		}
		base = filepath.Join(home, ".cache")
	}
	dir := filepath.Join(base, "sbuild")
	for _, d := range []string{base, dir} {
		err := as(owner, func() error { return os.Mkdir(d, 0o755) })
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return "", nil, cannotWrite(d, err)
		}
	}
	return dir, owner, nil
}

// behindSudo is the ordinary user who called this through sudo, nil if nobody did.
func (a *app) behindSudo() *user.User {
	id := a.getenv("SUDO_UID")
	if id == "" || id == "0" || os.Geteuid() != 0 || a.inside != nil {
		return nil
	}
	u, err := user.LookupId(id)
	if err != nil {
		return nil
	}
	return u
}

// schrootMark begins the files in schroot's folder that are ours.
const schrootMark = "# Made by rootctl export --for schroot.\n"

// forSchroot is a folder, of which each session gets a copy by overlayfs, and a file that tells schroot of it.
func (e *exporting) forSchroot(name string) error {
	if os.Geteuid() != 0 || e.inside != nil {
		return withHint(errors.New("schroot's chroots and their configuration belong to root"), "use sudo: sudo rootctl export --for schroot NAME")
	}
	if !isFolder(schrootConfig) {
		return withHint(fmt.Errorf("schroot is not installed: there is no folder %s", schrootConfig), "apt-get install schroot, or --format dir for the folder alone")
	}
	p := &e.plan
	p.format, p.compress, p.folder = formatDir, "", true
	if !p.given {
		if err := os.MkdirAll(schrootRoots, 0o755); err != nil {
			return cannotWrite(schrootRoots, err)
		}
		p.output = filepath.Join(schrootRoots, name)
	}
	abs, err := filepath.Abs(p.output)
	if err != nil {
		return err
	}
	p.output, name = abs, filepath.Base(abs)
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
		return withHint(&flagError{fmt.Errorf("schroot takes no chroot of the name %q", name)}, "small letters, digits, _ and -")
	}
	p.stanza = filepath.Join(schrootConfig, name)
	if old, err := os.ReadFile(p.stanza); err == nil && !bytes.HasPrefix(old, []byte(schrootMark)) {
		return withHint(fmt.Errorf("%s is there, and not of rootctl", p.stanza), "remove it, or name another folder with -o")
	}
	if p.stanzaText, err = schrootStanza(name, abs, e.info, e.lease.Root, e.behindSudo()); err != nil {
		return err
	}
	p.next = "schroot -c " + name
	e.say("note: %s, which tells schroot of it, is written as well", p.stanza)
	return e.wantsBuildd()
}

func schrootStanza[D ~string](name, dir string, i debootstrap.Info, root D, u *user.User) (string, error) {
	lines := []string{"[" + name + "]", fmt.Sprintf("description=%s %s %s, root %s", i.Suite, i.Variant, i.Arch, root[:12]),
		"type=directory", "directory=" + dir, "union-type=overlay", "groups=root", "root-groups=root"}
	if u != nil {
		lines = append(lines, "users="+u.Username, "root-users="+u.Username)
	}
	if i.Arch == "i386" || i.Arch == "armhf" || i.Arch == "armel" {
		lines = append(lines, "personality=linux32")
	}
	for _, l := range lines {
		if strings.ContainsFunc(l, unicode.IsControl) {
			return "", withHint(&flagError{fmt.Errorf("%q cannot stand in schroot's configuration", l)}, "name another folder with -o")
		}
	}
	return schrootMark + strings.Join(lines, "\n") + "\n", nil
}
