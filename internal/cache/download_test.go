package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	pool   = bytes.Repeat([]byte("a .deb\n"), 10000)
	poolID = Sum(pool)
	errCut = errors.New("connection reset")
)

// serve appends content from where the part is, up to byte cut, where the connection breaks.
func serve(content []byte, cut int64, calls *[]int64) func(context.Context, *Part) error {
	return func(_ context.Context, p *Part) error {
		*calls = append(*calls, p.Offset())
		end := min(cut, int64(len(content)))
		if _, err := io.Copy(p, bytes.NewReader(content[p.Offset():end])); err != nil {
			return err
		}
		if cut < int64(len(content)) {
			return errCut
		}
		return nil
	}
}

func ensure(s *Store, fill func(context.Context, *Part) error) error {
	return s.Ensure(context.Background(), poolID, int64(len(pool)), fill)
}

func wantPool(t *testing.T, s *Store) {
	t.Helper()
	f, err := s.OpenDownload(poolID)
	must(t, err)
	defer f.Close()
	b, err := io.ReadAll(f)
	must(t, err)
	st, err := f.Stat()
	must(t, err)
	if !bytes.Equal(b, pool) || st.Mode().Perm() != 0o444 || !s.HasDownload(poolID, int64(len(pool))) {
		t.Errorf("download of %d bytes, mode %v", len(b), st.Mode())
	}
	if left := litter(t, s); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func TestEnsureResumes(t *testing.T) {
	s := open(t)
	var calls []int64
	if err := ensure(s, serve(pool, 30000, &calls)); !errors.Is(err, errCut) {
		t.Fatal(err)
	}
	if n, err := s.Sweep(); n != 0 || err != nil || len(litter(t, s)) != 1 {
		t.Errorf("first sweep took %d, %v", n, err)
	}
	if err := ensure(s, serve(pool, 40000, &calls)); !errors.Is(err, errCut) {
		t.Fatal(err)
	}
	if n, err := s.Sweep(); n != 0 || err != nil { // used since the last
		t.Errorf("second sweep took %d, %v", n, err)
	}
	must(t, ensure(s, serve(pool, 1<<20, &calls)))
	wantPool(t, s)
	must(t, ensure(s, serve(pool, 1<<20, &calls)))
	if len(calls) != 3 || calls[0] != 0 || calls[1] != 30000 || calls[2] != 40000 {
		t.Errorf("offsets %v", calls)
	}
}

func TestSweepTakesOldParts(t *testing.T) {
	s := open(t)
	var calls []int64
	if err := ensure(s, serve(pool, 1000, &calls)); !errors.Is(err, errCut) {
		t.Fatal(err)
	}
	for want := range 2 {
		if n, err := s.Sweep(); n != want || err != nil {
			t.Errorf("sweep %d took %d, %v", want, n, err)
		}
	}
	if left := litter(t, s); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// What a killed process left may be anything: bad bytes, too many, or all there are.
func TestEnsureAfterKill(t *testing.T) {
	for _, test := range []struct {
		summary string
		left    []byte
		offsets []int64
	}{
		{"all but the rename", pool, nil},
		{"bad bytes", append([]byte("x"), pool[:5000]...), []int64{5001, 0}},
		{"all of it bad", make([]byte, len(pool)), []int64{0}},
		{"too long", make([]byte, len(pool)+1), []int64{0}},
		{"empty", nil, []int64{0}},
	} {
		t.Run(test.summary, func(t *testing.T) {
			s := open(t)
			must(t, os.WriteFile(s.partPath(poolID), test.left, partSeen))
			var calls []int64
			must(t, ensure(s, serve(pool, 1<<20, &calls)))
			wantPool(t, s)
			if len(calls) != len(test.offsets) {
				t.Fatalf("offsets %v, want %v", calls, test.offsets)
			}
			for i := range calls {
				if calls[i] != test.offsets[i] {
					t.Errorf("offsets %v, want %v", calls, test.offsets)
				}
			}
		})
	}
}

func TestEnsureRefuses(t *testing.T) {
	flipped := bytes.Clone(pool)
	flipped[777]++
	endless := func(_ context.Context, p *Part) error {
		for i := 0; i < 1<<20; i++ {
			if _, err := p.Write(make([]byte, 999)); err != nil {
				return err
			}
		}
		return errors.New("was never stopped")
	}
	var calls []int64
	for summary, fill := range map[string]func(context.Context, *Part) error{
		"wrong digest": serve(flipped, 1<<20, &calls),
		"short":        serve(pool[:100], 1<<20, &calls),
		"one too many": serve(append(bytes.Clone(pool), 0), 1<<20, &calls),
		"endless":      endless,
		"nothing":      func(context.Context, *Part) error { return nil },
	} {
		t.Run(summary, func(t *testing.T) {
			s := open(t)
			var bad *MismatchError
			if err := ensure(s, fill); !errors.As(err, &bad) {
				t.Errorf("error %v", err)
			}
			if left := litter(t, s); len(left) > 0 || s.HasDownload(poolID, int64(len(pool))) {
				t.Errorf("left: %q", left)
			}
		})
	}
	s := open(t)
	if err := s.Ensure(context.Background(), "../../etc/passwd", 1, endless); err == nil {
		t.Error("took a path for a digest")
	}
}

func TestEnsureOnce(t *testing.T) {
	s := open(t)
	var fills atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			err := ensure(s, func(_ context.Context, p *Part) error {
				fills.Add(1)
				time.Sleep(30 * time.Millisecond)
				_, err := p.Write(pool)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if fills.Load() != 1 {
		t.Errorf("filled %d times", fills.Load())
	}
	wantPool(t, s)
}

func TestWaitEndsWithContext(t *testing.T) {
	s := open(t)
	k, err := s.LockKey(context.Background(), poolID, func() { t.Error("waited for a free lock") })
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	waits := 0
	if _, err := s.LockKey(ctx, poolID, func() { waits++ }); !errors.Is(err, context.DeadlineExceeded) || waits != 1 {
		t.Errorf("error %v, waiting called %d times", err, waits)
	}
	k.Close()
	k, err = s.LockKey(context.Background(), poolID, nil)
	must(t, err)
	k.Close()
}

func TestDamagedDownload(t *testing.T) {
	s := open(t)
	var calls []int64
	path := s.path("dl/sha256", string(poolID))
	fill := serve(pool, 1<<20, &calls)
	must(t, ensure(s, fill))
	must(t, s.VerifyDownload(context.Background(), poolID))

	must(t, os.Chmod(path, 0o600))
	must(t, os.WriteFile(path, append([]byte("b"), pool[1:]...), 0o600))
	var bad *MismatchError
	if err := s.VerifyDownload(context.Background(), poolID); !errors.As(err, &bad) {
		t.Errorf("flip: %v", err)
	}
	if _, err := s.OpenDownload(poolID); !errors.Is(err, ErrNotFound) {
		t.Errorf("flip: OpenDownload: %v", err)
	}
	must(t, ensure(s, fill))
	wantPool(t, s)

	must(t, os.Chmod(path, 0o600))
	must(t, os.Truncate(path, 10))
	if s.HasDownload(poolID, int64(len(pool))) {
		t.Error("cut: HasDownload")
	}
	must(t, ensure(s, fill))
	wantPool(t, s)
}
