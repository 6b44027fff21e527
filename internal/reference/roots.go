package reference

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/suites"
)

// Job is one root to be built, by rootctl and by others, from one mirror.
type Job struct {
	Suite    suites.Suite
	Variant  string
	Arch     string
	Mirror   string   // URL with the folder: http://127.0.0.1:1/debian
	Keyring  string   // file
	Include  []string // further packages
	Exclude  []string
	Log      io.Writer
	MemoryKB *int64 // when not nil: set to the peak memory of the program's largest process
}

// WriteKeyring writes the suite's keys to one file, which gpgv and apt read.
func WriteKeyring(set *suites.Set, su suites.Suite, file string) error {
	keys, err := set.Keyring(su)
	if err != nil {
		return err
	}
	return os.WriteFile(file, bytes.Join(keys, nil), 0o644)
}

// run runs a command with the output going to the log, and the end of it into the error.
func (j *Job) run(ctx context.Context, stdout io.Writer, env []string, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	tail := &tailWriter{}
	log := io.MultiWriter(j.log(), tail)
	cmd.Stderr = log
	if cmd.Stdout = stdout; stdout == nil {
		cmd.Stdout = log
	}
	// A mount namespace of its own: what the program mounts below the root ends with it, so that no
	// clearing up can walk into the host's /proc.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	err := cmd.Run()
	if j.MemoryKB != nil && cmd.ProcessState != nil {
		*j.MemoryKB = maxRSS(cmd.ProcessState)
	}
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, tail)
	}
	return nil
}

func (j *Job) log() io.Writer {
	if j.Log == nil {
		return io.Discard
	}
	return j.Log
}

// tailWriter keeps the last few kilobytes written.
type tailWriter struct{ b []byte }

func (t *tailWriter) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if over := len(t.b) - 4096; over > 0 {
		t.b = t.b[over:]
	}
	return len(p), nil
}

func (t *tailWriter) String() string { return string(t.b) }

// Debootstrap builds the root in dir with debootstrap.
func (j *Job) Debootstrap(ctx context.Context, dir string) error {
	return j.run(ctx, nil, nil, append([]string{"debootstrap"}, j.debootstrapArgs(dir)...)...)
}

func (j *Job) debootstrapArgs(dir string) []string {
	argv := []string{"--arch=" + j.Arch, "--keyring=" + j.Keyring, "--components=" + strings.Join(j.Suite.Components, ",")}
	if j.Variant != "important" { // its default, which has no name of its own
		argv = append(argv, "--variant="+j.Variant)
	}
	if len(j.Include) > 0 {
		argv = append(argv, "--include="+strings.Join(j.Include, ","))
	}
	if len(j.Exclude) > 0 {
		argv = append(argv, "--exclude="+strings.Join(j.Exclude, ","))
	}
	argv = append(argv, layout(j), j.Suite.Codename, dir, j.Mirror)
	if script := debootstrapScript(j.Suite); script != "" {
		argv = append(argv, script)
	}
	return argv
}

// layout is debootstrap's option for the directories of the root.
func layout(j *Job) string {
	if j.Suite.Rules.MergedFor(j.Variant) {
		return "--merged-usr"
	}
	return "--no-merged-usr"
}

// debootstrapScript names a script for a suite that this host's debootstrap is too old to know.
func debootstrapScript(su suites.Suite) string {
	const scripts = "/usr/share/debootstrap/scripts/"
	if _, err := os.Stat(scripts + su.Codename); err == nil {
		return ""
	}
	return scripts + map[string]string{"debian": "sid", "ubuntu": "gutsy"}[su.Family]
}

// Mmdebstrap builds the root in dir with mmdebstrap.
func (j *Job) Mmdebstrap(ctx context.Context, dir string) error {
	return j.run(ctx, nil, nil, append([]string{"mmdebstrap"}, j.mmdebstrapArgs(dir)...)...)
}

func (j *Job) mmdebstrapArgs(dir string) []string {
	argv := []string{"--mode=root", "--format=directory", "--variant=" + j.Variant,
		"--architectures=" + j.Arch, "--keyring=" + j.Keyring,
		`--aptopt=Acquire::Check-Valid-Until "false"`} // the mirror is frozen
	if len(j.Include) > 0 {
		argv = append(argv, "--include="+strings.Join(j.Include, ","))
	}
	line := "deb " + j.Mirror + " " + j.Suite.Codename + " " + strings.Join(j.Suite.Components, " ")
	return append(argv, j.Suite.Codename, dir, line)
}

// Report is what rootctl's build --json prints, as far as it is used here.
type Report struct {
	Name, Digest string
	Cached       bool
	Packages     int
	Seconds      map[string]float64
}

// Rootctl is a rootctl program with a cache of its own.
type Rootctl struct {
	Program, Cache string
	Env            []string // further variables
}

// Name is the name under which the cache has the job's root.
func (j *Job) Name() string {
	name := j.Suite.Codename
	if j.Variant != "minbase" {
		name += "-" + j.Variant
	}
	return name
}

// Build builds the job's root, or finds it.
func (r Rootctl) Build(ctx context.Context, j *Job, flags ...string) (Report, error) {
	argv := append([]string{r.Program, "build", "--json", "--variant", j.Variant, "--arch", j.Arch, "--mirror", j.Mirror, "--only-mirror", "--allow-expired"}, flags...)
	if len(j.Include) > 0 {
		argv = append(argv, "--include", strings.Join(j.Include, ","))
	}
	if len(j.Exclude) > 0 {
		argv = append(argv, "--exclude", strings.Join(j.Exclude, ","))
	}
	var out bytes.Buffer
	var rep Report
	err := j.run(ctx, &out, append(r.Env, "ROOTCTL_CACHE="+r.Cache), append(argv, j.Suite.Codename)...)
	if err != nil {
		return rep, err
	}
	if err := json.Unmarshal(out.Bytes(), &rep); err != nil {
		return rep, fmt.Errorf("rootctl build --json: %w\n%s", err, out.Bytes())
	}
	rep.Digest = strings.TrimPrefix(rep.Digest, "sha256:")
	if rep.Digest == "" {
		return rep, errors.New("rootctl build --json: no digest")
	}
	return rep, nil
}

// Run runs a command in a root of the cache and returns its standard output and error.
func (r Rootctl) Run(ctx context.Context, name string, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, r.Program, append([]string{"run", "-q", "--no-build", name, "--"}, argv...)...)
	cmd.Env = append(os.Environ(), "ROOTCTL_CACHE="+r.Cache)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Dir is the folder of a root's files.
func (r Rootctl) Dir(digest string) string { return filepath.Join(r.Cache, "roots", digest) }

// Tree joins the files of a cached root with its manifest, which is authoritative for owner, mode,
// devices and xattrs. Types, contents and links are read from the disk, and a file of which only one
// of the two knows is an error: the comparison must not believe a record.
func (r Rootctl) Tree(digest string) (Tree, error) {
	t, err := ScanTree(r.Dir(digest))
	if err != nil {
		return nil, err
	}
	f, err := os.Open(r.Dir(digest) + ".mtree")
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	m, err := cache.ReadManifest(f)
	if err != nil {
		return nil, err
	}
	return join(t, m)
}

func join(t Tree, m *cache.Manifest) (Tree, error) {
	known := map[string]bool{}
	files := map[string]cache.Entry{}
	for _, e := range m.Entries {
		known[e.Path] = true
		n, onDisk := t[e.Path]
		if e.Type == cache.TypeHardlink {
			e2, ok := files[e.Link]
			if !ok || n.Type != 'f' {
				return nil, fmt.Errorf("%s: a hard link to %s, which is not there", e.Path, e.Link)
			}
			e2.Path = e.Path
			e = e2
		} else if e.Type == cache.TypeFile {
			files[e.Path] = e
		}
		device := e.Type == cache.TypeChar || e.Type == cache.TypeBlock
		switch {
		case device && onDisk:
			return nil, fmt.Errorf("%s: a device in a sealed tree", e.Path)
		case !device && !onDisk:
			return nil, fmt.Errorf("%s: in the manifest, not on disk", e.Path)
		case onDisk && n.Type != e.Type:
			return nil, fmt.Errorf("%s: type %c on disk, %c in the manifest", e.Path, n.Type, e.Type)
		case n.SHA256 != string(e.SHA256):
			return nil, fmt.Errorf("%s: sha256 %s on disk, %s in the manifest", e.Path, n.SHA256, e.SHA256)
		case n.Link != e.Link:
			return nil, fmt.Errorf("%s: link %s on disk, %s in the manifest", e.Path, n.Link, e.Link)
		}
		n.Type, n.Mode, n.UID, n.GID = e.Type, e.Mode, e.UID, e.GID
		if n.Type == 'l' {
			n.Mode = 0
		}
		n.Major, n.Minor, n.Xattrs = e.Major, e.Minor, e.Xattrs
		t[e.Path] = n
	}
	for p := range t {
		if !known[p] {
			return nil, fmt.Errorf("%s: on disk, not in the manifest", p)
		}
	}
	return t, nil
}
