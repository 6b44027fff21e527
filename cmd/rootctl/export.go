package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/cache/snapshot"
	"github.com/rootctl/rootctl/internal/debootstrap"
)

// exportFlags are what export was told.
type exportFlags struct {
	output, format, compress, tool string
	asJSON                         bool
}

func newExportCommand(a *app) *cobra.Command {
	var fl exportFlags
	c := &cobra.Command{
		Use:   "export [flags] NAME",
		Short: "write a root as a tarball, an OCI image or a folder",
		Long: "export writes the root NAME. The format and the compression are guessed from the end of the file's name: .tar,\n" +
			".tar.zst, .tar.gz, .tgz, .tar.xz, .oci or .oci.tar (an archive of an image layout); a name that ends in / is a folder.\n" +
			"--for writes it where a tool looks for it and says how to use it.",
		Example: "  rootctl export bookworm -o bookworm.tar.zst\n  rootctl export bookworm --format oci -o bookworm.oci.tar\n" +
			"  rootctl export bionic --format dir -o /srv/bionic && chroot /srv/bionic\n" +
			"  rootctl export bookworm-buildd --for sbuild\n  rootctl export bionic | tar -t",
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, names []string) error {
			return a.export(c.Context(), names[0], &fl)
		},
	}
	f := c.Flags()
	f.SortFlags = false
	f.StringVarP(&fl.output, "output", "o", "", "`file` or folder to write; - or nothing: standard output")
	f.StringVar(&fl.format, "format", "", "`kind` of output: tar, oci or dir (default by the file's name, else tar)")
	f.StringVar(&fl.compress, "compress", "", "`method`: zstd, gzip, xz or none (default by the file's name, else zstd for oci, none for tar)")
	f.StringVar(&fl.tool, "for", "", "write what `tool` uses, where it looks for it: sbuild, pbuilder or schroot")
	f.BoolVar(&fl.asJSON, "json", false, "print one JSON object")
	return c
}

// exportReport is export's --json object; its fields are an interface to scripts.
type exportReport struct {
	Name        string `json:"name"`
	Root        string `json:"root"` // digest of the uncompressed tar
	Format      string `json:"format"`
	Compression string `json:"compression,omitempty"`
	Output      string `json:"output"`             // path, or - for standard output
	Digest      string `json:"digest,omitempty"`   // of the file
	Manifest    string `json:"manifest,omitempty"` // digest of the OCI image
	Size        int64  `json:"size"`               // bytes of the file, or of a folder's contents
	Unverified  bool   `json:"unverified"`
	Next        string `json:"next,omitempty"` // a command that uses it
}

// exporting is one export under way.
type exporting struct {
	*app
	store *cache.Store
	lease *cache.Lease
	ref   cache.Ref
	info  debootstrap.Info
	plan  exportPlan
	bar   *meter
}

func (a *app) export(ctx context.Context, name string, fl *exportFlags) error {
	if fl.asJSON {
		a.quiet = true
	}
	plan, err := planExport(fl)
	if err != nil {
		return err
	}
	if plan.output == "-" && fl.asJSON && (plan.tool == "" || plan.given) {
		return withHint(&flagError{errors.New("--json and the export both want standard output")}, "name a file with -o")
	}
	store, err := a.existingStore()
	if err != nil {
		return err
	}
	if done, err := a.enter(); done || err != nil {
		return err
	}
	defer a.catchSignals()()
	ref, lease, err := a.leaseNamed(ctx, store, "export", name)
	if err != nil {
		return err
	}
	defer lease.Close()
	e := &exporting{app: a, store: store, lease: lease, ref: ref, plan: plan}
	if err := json.Unmarshal(ref.Info, &e.info); err != nil {
		return fmt.Errorf("export %s: read its record: %w", name, err)
	}
	a.warnUnverified(name, ref)
	if err := e.forTool(); err != nil {
		return fmt.Errorf("export %s: %w", name, err)
	}
	rep, err := e.write(ctx)
	if err != nil {
		return fmt.Errorf("export %s: %w", name, err)
	}
	if err := e.forToolAfter(ctx, rep); err != nil {
		return fmt.Errorf("export %s: %w", name, err)
	}
	rep.Name, rep.Root, rep.Unverified = ref.Name, "sha256:"+string(ref.Root), e.info.Unverified
	if fl.asJSON {
		return a.printJSON(rep)
	}
	if rep.Output != "-" {
		a.say("wrote %s: %s", rep.Output, bytesText(rep.Size))
	}
	if rep.Next != "" {
		a.say("next: %s", rep.Next)
	}
	return nil
}

// leaseNamed takes the cached root NAME into use.
func (a *app) leaseNamed(ctx context.Context, store *cache.Store, verb, name string) (cache.Ref, *cache.Lease, error) {
	ref, err := a.cached(store, name)
	if err != nil {
		return ref, nil, a.noSuchRoot(verb, name, err)
	}
	lease, err := store.Lease(ctx, ref.Root)
	if err != nil {
		return ref, nil, a.noSuchRoot(verb, name, err)
	}
	return ref, lease, nil
}

func (e *exporting) write(ctx context.Context) (*exportReport, error) {
	e.bar = e.startMeter("exporting", e.info.TarSize)
	defer e.bar.close()
	switch e.plan.format {
	case formatDir:
		return e.writeDir(ctx)
	case formatOCI:
		return e.writeImage(ctx)
	}
	return e.writeTar(ctx)
}

// The formats.
const (
	formatTar = "tar"
	formatOCI = "oci"
	formatDir = "dir"
)

// exportPlan is what to write, and where.
type exportPlan struct {
	format   string
	compress snapshot.Compression
	output   string // "-": standard output
	folder   bool   // an OCI layout folder rather than an archive
	tool     string // of --for; what follows is for it
	given    bool   // the output was named

	next       string     // how to use it
	owner      *user.User // who the file is for; may be nil
	stanza     string     // a file of configuration that goes with it, "" for none
	stanzaText string
}

// planExport joins what the flags say with what the output's name says.
func planExport(fl *exportFlags) (exportPlan, error) {
	p := exportPlan{format: fl.format, compress: snapshot.Compression(fl.compress), output: fl.output, tool: fl.tool, given: fl.output != ""}
	bad := func(hint, format string, args ...any) (exportPlan, error) {
		return p, withHint(&flagError{fmt.Errorf(format, args...)}, "%s", hint)
	}
	if p.tool != "" && (fl.format != "" || fl.compress != "") {
		return bad("drop them, or --for", "--for %s chooses format and compression itself", p.tool)
	}
	format, compress := guessFormat(p.output)
	if p.output == "" {
		p.output = "-"
	}
	if p.format == "" {
		p.format = format
	}
	p.folder = p.format == formatDir || p.format == formatOCI && (strings.HasSuffix(p.output, "/") || isFolder(p.output))
	if p.folder {
		p.output = filepath.Clean(p.output)
	}
	switch {
	case p.tool != "" && p.tool != toolSbuild && p.tool != toolPbuilder && p.tool != toolSchroot:
		return bad("--for sbuild, pbuilder or schroot", "unknown tool %q", p.tool)
	case p.format != formatTar && p.format != formatOCI && p.format != formatDir:
		return bad("--format tar, oci or dir", "unknown format %q", p.format)
	case p.format == formatDir && p.output == "-":
		return bad("name one with -o FOLDER", "a folder cannot go to standard output")
	case p.format == formatDir && p.compress != "":
		return bad("drop --compress", "a folder is not compressed")
	}
	if err := misnamed(&p); err != nil {
		return p, err
	}
	if p.compress == "" {
		p.compress = compress
		if p.compress == "" && p.format == formatOCI {
			p.compress = snapshot.Zstd
		}
		if p.compress == "" {
			p.compress = snapshot.None
		}
	}
	switch p.compress {
	case snapshot.Zstd, snapshot.Gzip, snapshot.None:
	case snapshot.XZ:
		if p.format == formatOCI {
			return bad("--compress zstd, gzip or none", "OCI images know no xz")
		}
	default:
		return bad("--compress zstd, gzip, xz or none", "unknown compression %q", fl.compress)
	}
	return p, nil
}
