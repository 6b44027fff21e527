package debootstrap

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/debootstrap/archive"
)

// No mirror answers: what was read last is locked, and said to be so; Fresh makes it an error.
func TestLockWithoutMirror(t *testing.T) {
	b, req, live, old, _ := movedWorld(t)
	first, err := b.Lock(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if first.Unchecked != nil || first.Request.Variant != "minbase" {
		t.Errorf("%+v", first.Request)
	}
	asked := len(old.Requests())
	live.Shut()
	old.Shut()
	again, err := b.Lock(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if again.Unchecked == nil || !again.Unchecked.Equal(first.Lock.Releases[0].Date) || KeyOf(again.Lock) != KeyOf(first.Lock) {
		t.Errorf("from the cache: %v", again.Unchecked)
	}
	req.Offline = true
	if l, err := b.Lock(t.Context(), req); err != nil || KeyOf(l.Lock) != KeyOf(first.Lock) {
		t.Errorf("offline: %v", err)
	}
	req.Offline, req.Fresh = false, true
	if _, err := b.Lock(t.Context(), req); !errors.Is(err, archive.ErrOffline) {
		t.Errorf("fresh: %v", err)
	}
	if asked == 0 {
		t.Error("nobody was asked at all")
	}
}

// watched notes what scripts of a build are granted.
type watched struct {
	unshareExecutor
	runs, unverified atomic.Int32
}

func (w *watched) Exec(ctx context.Context, c Command) (int, error) {
	w.runs.Add(1)
	if c.Unverified {
		w.unverified.Add(1)
	}
	return w.unshareExecutor.Exec(ctx, c)
}

// A Lock that somebody wrote down says nothing of who vouches for it: its scripts get little, its root is
// marked, and no request is recorded as having led to it, until a verified build has.
func TestBuildLocked(t *testing.T) {
	if unix.Geteuid() != 0 {
		t.Skip("needs root: builds")
	}
	b, req, _, _, _ := movedWorld(t)
	l, err := b.Lock(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	exec := &watched{}
	b.Exec = exec
	for i := range l.Lock.Releases { // a file has none
		l.Lock.Releases[i].Mirror = ""
	}
	l.Lock.Rules.DropDepends = []string{"dpkg", "libc6"} // in no key, yet it would order the stages
	res, err := b.BuildLocked(t.Context(), l.Lock, req, false)
	if err != nil {
		t.Fatal(err)
	}
	res.Lease.Close()
	if res.Cached || !res.Info.Locked || res.Info.Unverified || len(res.Lock.Rules.DropDepends) > 0 || res.Key != KeyOf(l.Lock) {
		t.Errorf("%+v", res.Info)
	}
	if exec.runs.Load() == 0 || exec.runs.Load() != exec.unverified.Load() {
		t.Errorf("%d of %d commands were granted little", exec.unverified.Load(), exec.runs.Load())
	}
	if _, err := LastBuilt(b.Store, req); err == nil {
		t.Error("the request is recorded as having led to it")
	}
	verified, err := b.Build(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	verified.Lease.Close()
	if !verified.Cached || verified.Info.Locked || verified.Root != res.Root {
		t.Errorf("verified: %+v", verified.Info)
	}
	again, err := b.BuildLocked(t.Context(), l.Lock, req, false)
	if err != nil {
		t.Fatal(err)
	}
	again.Lease.Close()
	if !again.Cached || again.Info.Locked {
		t.Errorf("locked again: %+v", again.Info)
	}
}

func TestLockedMirrors(t *testing.T) {
	date := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	now := date.AddDate(0, 1, 0)
	r := keyRequest(t)
	r.Suite.Archives = map[string][]string{"default": {"http://old.example/ubuntu"}}
	r.Suite.Snapshot = "http://snap.example/{archive}/{time}"
	r.Mirrors = []Mirror{{URL: "http://near.example/ubuntu", From: "--mirror"}}
	l := LockRelease{Pocket: "release", Date: date}
	const snap = "http://snap.example/ubuntu/"
	want := []string{"http://near.example/ubuntu", "http://archive.example/ubuntu", snap + "20260301T060000Z", snap + "20260302T000000Z", snap + "20260301T000000Z", "http://old.example/ubuntu"}
	if got := r.lockedMirrors(l, now); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := r.lockedMirrors(l, date.Add(time.Hour)); slices.Contains(got, snap+"20260301T060000Z") {
		t.Errorf("the future is asked: %q", got)
	}
	at := r
	at.At = date.AddDate(0, 0, 9)
	if got := at.lockedMirrors(l, now); !slices.Contains(got, snap+"20260310T000000Z") || len(got) != 4 {
		t.Errorf("as of a time: %q", got)
	}
	r.OnlyThese = true
	if got := r.lockedMirrors(l, now); !slices.Equal(got, want[:1]) {
		t.Errorf("only these: %q", got)
	}
}
