package runner

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// fullRange is how many ids beside its own a user needs: with them every id up to 65535 has a place.
const fullRange = 0xffff

// UserMap says how the ids of an ordinary user become those of a user namespace: 0 is the user, 1 and up are the
// ranges of subuid(5) and subgid(5).
type UserMap struct {
	UID, GID   uint32
	UIDs, GIDs []IDRange // none: the user's own id is all there is
	// NewUIDMap and NewGIDMap are the programs that write a map with ranges.
	NewUIDMap, NewGIDMap string
	own                  bool // the creator writes the map itself: see OwnMap
	// Why says, if there are no ranges, what is missing; Fix is a command that helps.
	Why, Fix string
}

// Single reports whether the map holds one id only.
func (m *UserMap) Single() bool { return len(m.UIDs) == 0 }

// Size is how many ids there are inside.
func (m *UserMap) Size() uint32 {
	n := func(rs []IDRange) uint32 {
		n := uint32(1)
		for _, r := range rs {
			n += r.Size
		}
		return n
	}
	return min(n(m.UIDs), n(m.GIDs))
}

// FindUserMap looks for the ranges of a user, known by name ("" if it has none) and id, below root, the file system's
// "/" unless a test says otherwise. path is where the programs are looked for.
func FindUserMap(root, name string, uid, gid int, path []string) (*UserMap, error) {
	m := &UserMap{UID: uint32(uid), GID: uint32(gid)}
	var uids, gids []IDRange
	for _, f := range []struct {
		name string
		to   *[]IDRange
	}{{"etc/subuid", &uids}, {"etc/subgid", &gids}} {
		var err error
		if *f.to, err = rangesOf(filepath.Join(root, f.name), name, strconv.Itoa(uid)); err != nil {
			return nil, err
		}
	}
	who := name
	if who == "" {
		who = strconv.Itoa(uid)
	}
	add := func() string {
		free := freeRange(root)
		return fmt.Sprintf("sudo usermod --add-subuids %[1]d-%[2]d --add-subgids %[1]d-%[2]d %[3]s", free, free+fullRange, who)
	}
	m.NewUIDMap, m.NewGIDMap = program("newuidmap", path), program("newgidmap", path)
	switch {
	case len(uids) == 0 || len(gids) == 0:
		m.Why, m.Fix = fmt.Sprintf("user %s has no range in /etc/subuid and /etc/subgid", who), add()
	case sum(uids) < fullRange || sum(gids) < fullRange:
		m.Why, m.Fix = fmt.Sprintf("the ranges of user %s in /etc/subuid and /etc/subgid hold fewer than 65535 ids", who), add()
	case m.NewUIDMap == "" || m.NewGIDMap == "":
		m.Why, m.Fix = "newuidmap and newgidmap are not installed", "sudo apt-get install uidmap"
	default:
		m.UIDs, m.GIDs = uids, gids
	}
	return m, nil
}

// Alone is the map of the user's id alone.
func (m *UserMap) Alone(why string) *UserMap {
	return &UserMap{UID: m.UID, GID: m.GID, Why: why, Fix: m.Fix}
}

func program(name string, path []string) string {
	for _, dir := range append(path, "/usr/bin", "/bin", "/usr/local/bin") {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil && filepath.IsAbs(p) {
			return p
		}
	}
	return ""
}

// freeRange begins the first 65536 ids from 100000 on, where useradd(8) begins, that no line of subuid and subgid has,
// and no user or group.
func freeRange(root string) uint64 {
	var taken []idSpan
	for _, name := range []string{"etc/subuid", "etc/subgid"} {
		if f, err := os.Open(filepath.Join(root, name)); err == nil {
			spans, _ := parseSubIDs(io.LimitReader(f, 16<<20)) // what can be read of it; usermod judges
			taken = append(taken, spans...)
			f.Close()
		}
	}
	for _, name := range []string{"etc/passwd", "etc/group"} {
		b, _ := os.ReadFile(filepath.Join(root, name)) // one that is not there has no ids
		for line := range strings.Lines(string(b)) {
			if f := strings.Split(strings.TrimSpace(line), ":"); len(f) > 2 {
				if id, err := strconv.ParseUint(f[2], 10, 32); err == nil {
					taken = append(taken, idSpan{from: id, to: id + 1})
				}
			}
		}
	}
	slices.SortFunc(taken, func(a, b idSpan) int { return cmp.Compare(a.from, b.from) })
	free := uint64(100000)
	for _, s := range taken {
		if s.from <= free+fullRange && s.to > free {
			free = s.to
		}
	}
	return free
}

func sum(rs []IDRange) (n uint64) {
	for _, r := range rs {
		n += uint64(r.Size)
	}
	return n
}

// rangesOf reads the ranges of one owner, 65536 ids of them at most: more are of no use and each has its price.
func rangesOf(file string, owners ...string) ([]IDRange, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find the user's id ranges: %w", err)
	}
	defer f.Close()
	all, err := parseSubIDs(io.LimitReader(f, 16<<20))
	if err != nil {
		return nil, fmt.Errorf("find the user's id ranges: read %s: %w", file, err)
	}
	var rs []IDRange
	room := uint64(blockID)
	for _, s := range all {
		if room == 0 || s.owner == "" || s.owner != owners[0] && s.owner != owners[1] {
			continue
		}
		n := min(s.to-s.from, room)
		if s.from == 0 || s.from+n > 1<<32-1 {
			continue
		}
		room -= n
		rs = append(rs, IDRange{uint32(s.from), uint32(n)})
	}
	return rs, nil
}
