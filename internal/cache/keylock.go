package cache

import (
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A KeyLock lets its holder alone do the actions of one key (and of the 1 in 256 keys that share its
// lock file, so a goroutine must not hold two).
type KeyLock struct {
	f   *os.File
	key Digest
}

// LockKey waits for the lock of key. waiting, if not nil, is called once if another holds it for longer than a few
// milliseconds; KeyHolder then says who. After it returns the caller looks the action up again: the other may have
// done it. A holder that dies loses the lock, and one of those who wait gets it.
func (s *Store) LockKey(ctx context.Context, key Digest, waiting func()) (*KeyLock, error) {
	if !key.Valid() {
		return nil, badDigest(key)
	}
	if s.readOnly {
		return nil, ErrReadOnly
	}
	f, err := s.lock(ctx, keyLock(key), unix.LOCK_EX, waiting)
	if err != nil {
		return nil, fmt.Errorf("wait for key %s: %w", key.Short(), err)
	}
	l := &KeyLock{f, key}
	l.Announce("")
	return l, nil
}

func keyLock(key Digest) string { return "key-" + string(key[:2]) }

// Announce writes what is being made into the lock file, for those who wait. Failing does no harm.
func (l *KeyLock) Announce(what string) {
	line := string(l.key) + " " + strings.ReplaceAll(what, "\n", " ") + "\n"
	if _, err := l.f.WriteAt([]byte(line), 0); err == nil {
		_ = l.f.Truncate(int64(len(line))) // or something of the last holder's follows the line, which nobody reads
	}
}

// Close gives the lock back.
func (l *KeyLock) Close() { closeLock(l.f) }

// KeyHolder says what the holder of key's lock makes, as it has announced: own is false if that is for another key with
// the same lock file. Both are zero if it is not known.
func (s *Store) KeyHolder(key Digest) (what string, own bool) {
	if !key.Valid() {
		return "", false
	}
	b, err := readFile(s.path("locks", keyLock(key)), 4096)
	if err != nil {
		return "", false
	}
	line, _, _ := strings.Cut(string(b), "\n")
	holder, what, _ := strings.Cut(line, " ")
	return what, Digest(holder) == key
}
