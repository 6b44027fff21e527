package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/reference"
)

// way is a surrounding of a build that must not show in what is built.
type way struct {
	name  string
	env   []string
	flags []string // of build
	shell string   // run before rootctl, in a mount namespace of its own; $way is a folder, $cache rootctl's cache
	fs    string   // a file system that the kernel must have

	ahead time.Duration // how far the clock is ahead; then the rest is not asked
}

// ways lists them, the plain one first. Each has a cache of its own.
func ways() []way {
	const day = 24 * time.Hour
	disk := func(fs, stat, mkfs string) way {
		return way{name: "cache on " + fs, fs: fs, shell: "truncate -s 3G \"$way/disk\"\n" + mkfs + " \"$way/disk\" >/dev/null\n" +
			"mount -t " + fs + " -o loop \"$way/disk\" \"$cache\"\n[ \"$(stat -f -c %T \"$cache\")\" = " + stat + " ]\nrm \"$way/disk\"\n"}
	}
	ext4 := disk("ext4", "ext2/ext3", "mkfs.ext4 -q -E hash_seed=7d5a1f0c-3b6e-4f2a-9c1d-0123456789ab")
	ext4.name += " with another hash seed"
	return []way{
		{name: "plain"},
		{name: "umask 077", shell: "umask 077\n"},
		{name: "umask 000", shell: "umask 000\n"},
		{name: "TZ=Pacific/Kiritimati", env: []string{"TZ=Pacific/Kiritimati"}},
		{name: "LANG=tr_TR.UTF-8", env: []string{"LANG=tr_TR.UTF-8", "LC_ALL=tr_TR.UTF-8", "LANGUAGE=tr"}},
		{name: "GOMAXPROCS=1", env: []string{"GOMAXPROCS=1"}},
		ext4,
		{name: "cache on tmpfs", fs: "tmpfs", shell: "mount -t tmpfs -o size=3G none \"$cache\"\n[ \"$(stat -f -c %T \"$cache\")\" = tmpfs ]\n"},
		disk("btrfs", "btrfs", "mkfs.btrfs -q"),
		disk("xfs", "xfs", "mkfs.xfs -q"),
		{name: "another host name and resolv.conf", shell: `unshare_uts
echo elsewhere.example.org >/proc/sys/kernel/hostname
[ "$(uname -n)" = elsewhere.example.org ]
printf 'nameserver 192.0.2.53\nsearch elsewhere.example.org\n' >"$way/resolv.conf"
mount --bind "$way/resolv.conf" /etc/resolv.conf
grep -q 192.0.2.53 /etc/resolv.conf
`},
		{name: "--userns=host", flags: []string{"--userns=host"}},
		{name: "clock two days on", ahead: 2 * day},
		{name: "clock five years on", ahead: 5*365*day + day},
	}
}

// ways builds the root in each surrounding and prints a line for each.
func (c *comparer) ways(ctx context.Context, job *reference.Job, work string) (string, bool, error) {
	only, err := regexp.Compile(c.way)
	if err != nil {
		return "", false, err
	}
	var first *cache.Manifest
	var digest string
	done, differ, skipped := 0, 0, 0
	for i, w := range ways() {
		if i > 0 && !only.MatchString(w.name) {
			continue
		}
		if err := hasFileSystem(w.fs); err != nil {
			fmt.Fprintf(c.out, "  SKIPPED %s: %v\n", w.name, err)
			skipped++
			continue
		}
		build := c.buildIn
		if w.ahead != 0 {
			build = c.buildOn
		}
		d, m, err := build(ctx, job, w, filepath.Join(work, fmt.Sprint("way", i)))
		if err != nil {
			return "", false, fmt.Errorf("%s: %w", w.name, err)
		}
		fmt.Fprintf(c.out, "  %-40s sha256:%s\n", w.name, d)
		done++
		if first == nil {
			first, digest = m, d
		} else if d != digest {
			differ++
			c.manifestsDiffer(first, m)
		}
	}
	result := fmt.Sprintf("sha256:%.12s in %d of %d ways", digest, done-differ, done)
	if skipped > 0 {
		result += fmt.Sprintf(", %d SKIPPED", skipped)
	}
	return result, differ == 0, nil
}

// buildIn builds in one surrounding, in the new folder dir, which only keeps its scripts and the root's manifest.
func (c *comparer) buildIn(ctx context.Context, job *reference.Job, w way, dir string) (string, *cache.Manifest, error) {
	store, program := filepath.Join(dir, "cache"), filepath.Join(dir, "rootctl")
	script := fmt.Sprintf("#!/bin/sh\nset -e\nway='%s' cache='%s'\n", dir, store)
	if strings.HasPrefix(w.shell, "unshare_uts\n") {
		script += "[ -n \"$in_uts\" ] || in_uts=1 exec unshare --uts \"$0\" \"$@\"\n"
	}
	script += strings.TrimPrefix(w.shell, "unshare_uts\n") +
		"setpriv --pdeathsig TERM '" + c.program + "' \"$@\"\ncp \"$cache\"/roots/*.mtree \"$way\"\n"
	err := errors.Join(os.MkdirAll(store, 0o755), os.WriteFile(program, []byte(script), 0o755))
	if err != nil {
		return "", nil, err
	}
	defer os.RemoveAll(store) //nolint:errcheck // the whole folder goes later
	rc := reference.Rootctl{Program: program, Cache: store, Env: w.env}
	rep, err := rc.Build(ctx, job, append(c.flags(job), w.flags...)...)
	if err != nil {
		return "", nil, err
	}
	if rep.Cached {
		return "", nil, errors.New("it was in the cache")
	}
	m, err := readFile(filepath.Join(dir, rep.Digest+".mtree"), cache.ReadManifest)
	return rep.Digest, m, err
}

// hasFileSystem says, with the kernel's own words, why it has not.
func hasFileSystem(name string) error {
	if name == "" {
		return nil
	}
	known := func() bool {
		b, _ := os.ReadFile("/proc/filesystems")
		return bytes.Contains(b, []byte("\t"+name+"\n"))
	}
	if known() {
		return nil
	}
	out, err := exec.Command("modprobe", name).CombinedOutput()
	if known() {
		return nil
	}
	return fmt.Errorf("/proc/filesystems has no %s; modprobe: %v %s", name, err, bytes.TrimSpace(out))
}

// manifestsDiffer prints the first files that two roots have differently.
func (c *comparer) manifestsDiffer(a, b *cache.Manifest) {
	const most = 20
	old := map[string]string{}
	for _, e := range a.Entries {
		old[e.Path] = fmt.Sprintf("%+v", e)
	}
	n := 0
	say := func(format string, args ...any) {
		if n++; n <= most {
			fmt.Fprintf(c.out, "    DIFFERS "+format+"\n", args...)
		}
	}
	for _, e := range b.Entries {
		text := fmt.Sprintf("%+v", e)
		if was, ok := old[e.Path]; !ok {
			say("%s: not in the plain root", e.Path)
		} else if was != text {
			say("%s: plain %s, here %s", e.Path, was, text)
		}
		delete(old, e.Path)
	}
	for p := range old {
		say("%s: only in the plain root", p)
	}
	if n > most {
		fmt.Fprintf(c.out, "    and %d more\n", n-most)
	}
}
