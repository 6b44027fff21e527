package runner

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestClaimIDs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ids")
	sub := filepath.Join(t.TempDir(), "subuid")
	// The first four blocks are someone's, wholly or in part.
	text := "a:1879048192:1\nb:1879113728:65536\nbroken line\nd:1879244800:10\ne:x:y\nf:1:0\ng:1879179264:65536\n"
	var files []*os.File
	want := []uint32{firstID + 4*blockID, firstID + 5*blockID, firstID + 6*blockID}
	if err := os.WriteFile(sub, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, base := range want {
		r, f, err := ClaimIDs(dir, sub, filepath.Join(dir, "no-such-file"))
		if err != nil || r.Base != base || r.Size != blockID {
			t.Fatalf("%+v %v, want base %d", r, err, base)
		}
		files = append(files, f)
	}
	files[1].Close()
	r, f, err := ClaimIDs(dir, sub)
	if err != nil || r.Base != want[1] {
		t.Errorf("after release: %+v %v", r, err)
	}
	f.Close()
	flags, err := unix.FcntlInt(files[0].Fd(), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("the lock would be inherited: %v", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil || st.Mode&0o777 != 0o700 {
		t.Errorf("mode %o %v", st.Mode, err)
	}
}

func TestClaimIDsAllTaken(t *testing.T) {
	sub := filepath.Join(t.TempDir(), "subuid")
	if err := os.WriteFile(sub, []byte("all:1:4294967295\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r, _, err := ClaimIDs(t.TempDir(), sub); err == nil {
		t.Errorf("got %+v", r)
	}
}

func FuzzParseSubIDs(f *testing.F) {
	f.Add("user:100000:65536\n")
	f.Add("user:4294967295:4294967295\n:::\n")
	f.Fuzz(func(t *testing.T, s string) {
		spans, err := parseSubIDs(strings.NewReader(s))
		if err != nil {
			return
		}
		for _, x := range spans {
			if x.to <= x.from || x.to > 1<<33 {
				t.Errorf("%+v", x)
			}
		}
	})
}
