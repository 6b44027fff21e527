package runner

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Blocks of host ids for containers. Below are real users and what distributions hand out; ids above 2^31-1 are signed
// trouble in old programs.
const (
	firstID = 0x70000000
	lastID  = 0x80000000
	blockID = 0x10000
)

// ClaimIDs takes a block of 65536 host ids that no other container on this host has, for as long as the returned file
// is open: its number N stands for a flock on dir/N. Blocks that meet an entry of the given files (none given:
// /etc/subuid and /etc/subgid) are passed over, because their users could map the same ids.
func ClaimIDs(dir string, reserved ...string) (IDRange, *os.File, error) {
	if len(reserved) == 0 {
		reserved = []string{"/etc/subuid", "/etc/subgid"}
	}
	taken, err := reservedIDs(reserved)
	if err != nil {
		return IDRange{}, nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return IDRange{}, nil, fmt.Errorf("claim ids: %w", err)
	}
	d, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return IDRange{}, nil, fmt.Errorf("claim ids: open %s: %w", dir, err)
	}
	defer unix.Close(d)
	for n := 0; firstID+n*blockID < lastID; n++ {
		r := IDRange{Base: uint32(firstID + n*blockID), Size: blockID}
		if overlaps(r, taken) {
			continue
		}
		fd, err := unix.Openat(d, strconv.Itoa(n), unix.O_CREAT|unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return IDRange{}, nil, fmt.Errorf("claim ids: open %s/%d: %w", dir, n, err)
		}
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return r, os.NewFile(uintptr(fd), dir+"/"+strconv.Itoa(n)), nil
		}
		unix.Close(fd)
		if err != unix.EWOULDBLOCK {
			return IDRange{}, nil, fmt.Errorf("claim ids: lock %s/%d: %w", dir, n, err)
		}
	}
	return IDRange{}, nil, &SpecError{Problem: "claim ids: every block is in use", Fix: "end some containers; see the locks in " + dir}
}

// ShareIDs takes a share of one block, which ClaimIDs then gives to nobody while the returned file is open. ErrIDsTaken
// says that somebody has it alone, or may map it.
func ShareIDs(dir string, r IDRange, reserved ...string) (*os.File, error) {
	if len(reserved) == 0 {
		reserved = []string{"/etc/subuid", "/etc/subgid"}
	}
	taken, err := reservedIDs(reserved)
	if err != nil {
		return nil, err
	}
	if overlaps(r, taken) {
		return nil, ErrIDsTaken
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("share ids: %w", err)
	}
	name := fmt.Sprintf("%s/%d", dir, (r.Base-firstID)/blockID)
	fd, err := unix.Open(name, unix.O_CREAT|unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("share ids: open %s: %w", name, err)
	}
	if err := unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB); err != nil {
		unix.Close(fd)
		if err == unix.EWOULDBLOCK {
			return nil, ErrIDsTaken
		}
		return nil, fmt.Errorf("share ids: lock %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// ErrIDsTaken is a block of ids that cannot be shared.
var ErrIDsTaken = errors.New("these ids are in use")

// idSpan is a line of subuid(5).
type idSpan struct {
	owner    string
	from, to uint64 // to is not in it
}

func overlaps(r IDRange, taken []idSpan) bool {
	from, to := uint64(r.Base), uint64(r.Base)+uint64(r.Size)
	for _, t := range taken {
		if t.from < to && from < t.to {
			return true
		}
	}
	return false
}

// reservedIDs reads files of subuid(5). A line that is not understood reserves nothing, as for newuidmap.
func reservedIDs(files []string) ([]idSpan, error) {
	var spans []idSpan
	for _, name := range files {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("claim ids: %w", err)
		}
		s, err := parseSubIDs(io.LimitReader(f, 16<<20))
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("claim ids: read %s: %w", name, err)
		}
		spans = append(spans, s...)
	}
	return spans, nil
}

func parseSubIDs(r io.Reader) ([]idSpan, error) {
	var spans []idSpan
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		f := strings.Split(strings.TrimSpace(sc.Text()), ":")
		if len(f) != 3 {
			continue
		}
		from, err1 := strconv.ParseUint(f[1], 10, 32)
		n, err2 := strconv.ParseUint(f[2], 10, 32)
		if err1 == nil && err2 == nil && n > 0 {
			spans = append(spans, idSpan{f[0], from, from + n})
		}
	}
	return spans, sc.Err()
}
