package cache

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// KeepDownload makes path, a file in a Temp whose digest and size the caller has compared, the download d. One that is
// there already stays.
func (s *Store) KeepDownload(ctx context.Context, path string, d Digest, size int64) error {
	if !d.Valid() {
		return badDigest(d)
	}
	if err := s.keepDownload(ctx, path, d, size); err != nil {
		return fmt.Errorf("keep download %s: %w", d.Short(), s.fault(err))
	}
	return nil
}

func (s *Store) keepDownload(ctx context.Context, path string, d Digest, size int64) error {
	l, err := s.lock(ctx, blobLock(d), unix.LOCK_EX, nil)
	if err != nil {
		return err
	}
	defer closeLock(l)
	if s.HasDownload(d, size) {
		return nil
	}
	if err := os.Chmod(path, 0o444); err != nil {
		return err
	}
	return os.Rename(path, s.path("dl/sha256", string(d)))
}
