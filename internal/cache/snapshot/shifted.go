package snapshot

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// VerifyShifted is Verify for a copy of the tree whose ids are those of a block from base on.
func (m *Manifest) VerifyShifted(ctx context.Context, tree string, base, size uint32) ([]string, error) {
	disk, _, err := scan(ctx, tree, ScanOptions{Epoch: math.MaxInt64}, io.Discard)
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", tree, err)
	}
	back := func(id uint32) uint32 {
		if id >= base && id-base < size {
			return id - base
		}
		return math.MaxUint32 // no id of the block: nobody's
	}
	for i := range disk.Entries {
		e := &disk.Entries[i]
		e.UID, e.GID = back(e.UID), back(e.GID)
		for name, v := range e.Xattrs {
			e.Xattrs[name] = unshifted(name, v, base, back)
		}
	}
	return m.diff(disk, true), nil
}

// unshifted makes file capabilities of version 3 version 2 again, and gives access lists their ids back.
func unshifted(name, v string, base uint32, back func(uint32) uint32) string {
	le, b := binary.LittleEndian, []byte(v)
	switch {
	case name == "security.capability" && len(b) == 24 && le.Uint32(b[20:]) == base:
		le.PutUint32(b, 2<<24|le.Uint32(b)&0xff_ffff)
		return string(b[:20])
	case (name == "system.posix_acl_access" || name == "system.posix_acl_default") && len(b) >= 4:
		for e := b[4:]; len(e) >= 8; e = e[8:] {
			if tag := le.Uint16(e); tag == 2 || tag == 8 { // a named user, a named group
				le.PutUint32(e[4:], back(le.Uint32(e[4:])))
			}
		}
		return string(b)
	}
	return v
}
