package unpack

import (
	"archive/tar"
	"bufio"
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

const maxID = 1<<32 - 1 // (uid_t)-1 means "leave it"

// IDs gives the numeric ids of names: those base-passwd fixes for every
// system. A name it does not know keeps the number in the archive.
type IDs struct{ Users, Groups map[string]int }

func (n *IDs) of(h *tar.Header) (uid, gid int) {
	uid, gid = h.Uid, h.Gid
	if n == nil {
		return uid, gid
	}
	if id, ok := n.Users[h.Uname]; ok {
		uid = id
	}
	if id, ok := n.Groups[h.Gname]; ok {
		gid = id
	}
	return uid, gid
}

// ParseIDs reads a passwd or group file (or base-passwd's masters of them).
func ParseIDs(file []byte) (map[string]int, error) {
	ids := map[string]int{}
	sc := bufio.NewScanner(bytes.NewReader(file))
	for sc.Scan() {
		f := strings.SplitN(sc.Text(), ":", 4)
		if len(f) < 4 {
			continue
		}
		id, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil || id == maxID {
			return nil, fmt.Errorf("id of %q: %q is not a number", f[0], f[2])
		}
		ids[f[0]] = int(id)
	}
	return ids, sc.Err()
}
