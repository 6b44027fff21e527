package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// VerifyOptions say how much is read.
type VerifyOptions struct {
	Roots    bool                          // compare every tree with its manifest
	DryRun   bool                          // only report
	Metadata func(*Lease) bool             // whether a tree's owners and modes mean something on this disk; nil: they do
	Progress func(kind string, done int64) // bytes read so far; may be nil
}

// A Damage is a thing that is not what it was.
type Damage struct {
	Kind    string   `json:"kind"`
	Name    string   `json:"name"`
	Names   []string `json:"names,omitempty"` // of a root
	Reason  string   `json:"reason"`
	Removed bool     `json:"removed"` // it counts as absent now
	InUse   bool     `json:"in_use"`
}

// Verified is what a verification found.
type Verified struct {
	Checked []KindUsage `json:"checked"`
	Bad     []Damage    `json:"bad"`
}

// KindManifest is the kind of roots/<digest>.mtree.
const KindManifest = "manifest"

// Verify reads all that the cache holds and compares it with what names it. What is damaged is removed, which makes it a
// miss that the next build heals; a root in use, a read-only cache, or all of a dry run, is only reported. Any number may run beside any
// other work.
func (s *Store) Verify(ctx context.Context, o VerifyOptions) (*Verified, error) {
	v := &verification{s: s, o: o, ctx: ctx, out: &Verified{Checked: []KindUsage{}, Bad: []Damage{}}}
	var err error
	for _, part := range []func() error{
		func() error { return v.blobs(KindDownload, "dl/sha256") },
		func() error { return v.blobs(KindBlob, "oci/blobs/sha256") },
		v.records, v.layers, v.roots,
	} {
		if e := part(); err == nil { // of several the first tells enough
			err = e
		}
	}
	if ctx.Err() != nil {
		return v.out, fmt.Errorf("verify cache: %w", ctx.Err())
	}
	if err != nil {
		return v.out, fmt.Errorf("verify cache: %w", err)
	}
	return v.out, nil
}

type verification struct {
	s    *Store
	o    VerifyOptions
	ctx  context.Context //nolint:containedctx // lives as long as one Verify
	out  *Verified
	read int64
}

// each checks the things of a folder; check returns what it read and what is wrong, "" if nothing is.
func (v *verification) each(kind, folder string, check func(name string) (int64, string, error), remove func(name string) error) error {
	names, err := v.s.listDir(folder)
	if err != nil {
		return err
	}
	sum := KindUsage{Kind: kind}
	for _, name := range names {
		if err := v.ctx.Err(); err != nil {
			return err
		}
		n, reason, err := check(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		sum.Items++
		sum.Bytes += n
		if v.read += n; v.o.Progress != nil {
			v.o.Progress(kind, v.read)
		}
		if err != nil {
			if v.ctx.Err() != nil {
				return v.ctx.Err()
			}
			if passing(err) {
				return err
			}
			reason = err.Error()
		}
		if reason != "" {
			v.bad(Damage{Kind: kind, Name: name, Reason: reason}, remove, errors.Is(err, fs.ErrPermission))
		}
	}
	v.out.Checked = append(v.out.Checked, sum)
	return nil
}

// passing tells errors that say nothing of the thing that was to be read.
func passing(err error) bool {
	var flock *NoFlockError
	if errors.As(err, &flock) {
		return true
	}
	for _, e := range []error{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS, unix.EAGAIN, unix.EINTR, unix.ENOSPC, unix.EDQUOT, unix.EROFS} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// bad notes a damage and removes the thing, unless it is only that this user may not read it.
func (v *verification) bad(d Damage, remove func(name string) error, keep bool) {
	if d.Kind == KindRoot {
		d.Names = v.s.namesOf(Digest(d.Name))
	}
	if !keep && !v.s.readOnly && !v.o.DryRun {
		err := remove(d.Name)
		switch {
		case errors.Is(err, ErrBusy):
			d.InUse = true
		case err == nil, errors.Is(err, fs.ErrNotExist):
			d.Removed = true
		default:
			d.Reason += "; it cannot be removed: " + err.Error()
		}
	}
	v.out.Bad = append(v.out.Bad, d)
}

// namesOf lists a root's names, sorted.
func (s *Store) namesOf(d Digest) (names []string) {
	refs, err := s.Refs()
	if err != nil {
		return nil // what is known without is worth saying
	}
	for _, r := range refs {
		if r.Root == d {
			names = append(names, r.Name)
		}
	}
	return names
}

// blobs hashes files that their digests name.
func (v *verification) blobs(kind, folder string) error {
	check := func(name string) (int64, string, error) { return v.hash(v.s.path(folder, name), Digest(name)) }
	return v.each(kind, folder, check, func(name string) error {
		if d := Digest(name); d.Valid() {
			l, err := v.s.lock(v.ctx, blobLock(d), unix.LOCK_EX, nil)
			if err != nil {
				return err
			}
			defer l.Close()
			if _, reason, err := check(name); err == nil && reason == "" {
				return nil // another process has put a whole one there
			}
		}
		return v.s.discard(v.s.path(folder, name))
	})
}

func (v *verification) hash(path string, want Digest) (int64, string, error) {
	if !want.Valid() {
		return 0, "its name is no digest", nil
	}
	st, err := os.Lstat(path)
	if err != nil {
		return 0, "", err
	}
	if !st.Mode().IsRegular() {
		return 0, "it is no regular file", nil
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.CopyBuffer(h, io.LimitReader(contextReader{v.ctx, f}, maxFile), make([]byte, 256<<10))
	if err != nil {
		return n, "", err
	}
	if got := Digest(hex.EncodeToString(h.Sum(nil))); got != want {
		return n, fmt.Sprintf("its sha256 is %s", got.Short()), nil
	}
	return n, "", nil
}

// maxFile is above all that a cache holds in one file.
const maxFile = 1 << 44

// contextReader ends with its context. (Its Read alone: with more methods io.Copy would go past it.)
type contextReader struct {
	ctx context.Context
	f   *os.File
}

func (r contextReader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.f.Read(b)
}

// records checks what carries its own digest, and inputs, which their names are the digest of.
func (v *verification) records() error {
	var errs []error
	for _, folder := range []string{"actions", "refs", "releases"} {
		check := func(name string) (int64, string, error) {
			st, err := os.Lstat(v.s.path(folder, name))
			if err != nil {
				return 0, "", err
			}
			b, err := v.s.readRecord(folder, name)
			switch {
			case err == nil && folder == "actions" && !Digest(name).Valid():
				return int64(len(b)), "its name is no key", nil
			case err == nil && folder == "refs":
				_, err = v.s.Ref(name)
			}
			if errors.Is(err, ErrNotFound) || err != nil && !errors.Is(err, fs.ErrPermission) && !passing(err) {
				return st.Size(), "it does not have its own checksum", nil
			}
			return st.Size(), "", err
		}
		errs = append(errs, v.each(folder[:len(folder)-1], folder, check, func(name string) error {
			discard := func() error {
				if _, reason, err := check(name); err == nil && reason == "" {
					return nil // written anew meanwhile
				}
				return v.s.discard(v.s.path(folder, name))
			}
			if folder == "refs" {
				return v.s.changeRefs(discard)
			}
			return discard()
		}))
	}
	inputs := func(name string) (int64, string, error) {
		hex, ok := strings.CutSuffix(name, ".json")
		if !ok {
			return 0, "its name is no key", nil
		}
		return v.hash(v.s.path("inputs", name), Digest(hex))
	}
	errs = append(errs, v.each("input", "inputs", inputs, func(name string) error { return v.s.discard(v.s.path("inputs", name)) }))
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// layers checks the files that runs share.
func (v *verification) layers() error {
	return v.each(KindLayer, "layers", func(name string) (int64, string, error) {
		var n int64
		files := map[string][]byte{}
		top := v.s.path("layers", name)
		err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := readFile(path, maxRecord)
			n += int64(len(b))
			files[strings.TrimPrefix(path, top+"/")] = b
			return err
		})
		if err == nil && layerName(files) != name {
			return n, "its files are not those it is named by", nil
		}
		return n, "", err
	}, func(name string) error {
		l, err := v.s.lockLayer(v.s.path("layers", name), unix.LOCK_EX|unix.LOCK_NB)
		if err != nil {
			return err
		}
		defer l.Close()
		return v.s.discard(l.Path)
	})
}

// roots checks the manifests, which have their own checksum, and the trees if that was asked for.
func (v *verification) roots() error {
	kind := KindManifest
	if v.o.Roots {
		kind = KindRoot
	}
	names, err := v.s.listDir("roots")
	if err != nil {
		return err
	}
	sum, second := KindUsage{Kind: kind}, KindUsage{Kind: KindShifted}
	for _, name := range names {
		d, sum, kind := Digest(name), &sum, KindRoot
		look, drop := v.root, v.dropRoot
		if of, ok := shiftedOf(name); ok && v.o.Roots {
			d, sum, kind = of, &second, KindShifted
			look, drop = v.shifted, v.dropShifted
		}
		if !d.Valid() || !v.s.hasRoot(d) {
			continue // sweep's business
		}
		if err := v.ctx.Err(); err != nil {
			return err
		}
		n, problems, err := look(d)
		if errors.Is(err, ErrBusy) || errors.Is(err, fs.ErrNotExist) {
			continue // on its way out
		}
		sum.Items++
		sum.Bytes += n
		if v.read += n; v.o.Progress != nil {
			v.o.Progress(sum.Kind, v.read)
		}
		if v.ctx.Err() != nil {
			return v.ctx.Err()
		}
		if passing(err) {
			return err
		}
		var damaged *snapshot.DamagedError
		if errors.As(err, &damaged) {
			problems, err = []string{damaged.Error()}, nil
		}
		if err != nil {
			problems = append(problems, err.Error())
		}
		if len(problems) > 0 {
			v.bad(Damage{Kind: kind, Name: name, Reason: firstFew(problems)}, drop, errors.Is(err, fs.ErrPermission))
		}
	}
	v.out.Checked = append(v.out.Checked, sum)
	if second.Items > 0 {
		v.out.Checked = append(v.out.Checked, second)
	}
	return nil
}

// root reads one root under its lock, without counting that as a use.
func (v *verification) root(d Digest) (int64, []string, error) {
	lock, err := v.s.lockRoot(v.ctx, d, unix.LOCK_SH|unix.LOCK_NB)
	if err != nil {
		return 0, nil, err
	}
	defer closeLock(lock)
	f, err := v.s.openManifest(d)
	if err != nil {
		return 0, nil, err
	}
	defer f.Close()
	m, err := snapshot.ReadManifest(f)
	if err == nil && m.Digest != d {
		err = &snapshot.DamagedError{Reason: "it belongs to another root"}
	}
	if err != nil {
		return 0, nil, err
	}
	if !v.o.Roots {
		st, err := f.Stat()
		return st.Size(), nil, err
	}
	compare := m.Verify
	if l := (&Lease{Root: d, Tree: v.s.rootPath(d), s: v.s, lock: lock}); v.o.Metadata != nil && !v.o.Metadata(l) {
		compare = m.VerifyContent
	}
	problems, err := compare(v.ctx, v.s.rootPath(d))
	if errors.Is(err, fs.ErrNotExist) && v.s.hasRoot(d) {
		return m.TarSize, []string{err.Error()}, nil
	}
	return m.TarSize, problems, err
}

func (v *verification) dropRoot(name string) error {
	trash, err := v.s.unlinkRoot(Digest(name), false)
	if err == nil && trash != "" {
		err = removeTrash(trash)
	}
	return err
}

func firstFew(problems []string) string {
	const few = 5
	if len(problems) <= few {
		return strings.Join(problems, "; ")
	}
	return fmt.Sprintf("%s; and %d more", strings.Join(problems[:few], "; "), len(problems)-few)
}
