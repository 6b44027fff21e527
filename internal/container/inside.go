package container

import (
	"os"
	"os/signal"
	"os/user"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/runner"
)

// An ordinary user's build and run do their work in a second process of this program, which is root of a user
// namespace (runner.Enter). The first one stays outside: it relays signals and passes the exit code on.

// insideName begins argv[0] of the second process, and insideWhole where it is to be the whole program at once
// (internal/quick/join); then comes the number of ids inside, 1 if it is the user's alone.
const (
	insideName  = "rootctl-inside:"
	insideWhole = "rootctl:inside:"
)

// InsideName is argv[0] of a second process with so many ids.
func InsideName(ids uint32, whole bool) string {
	if whole {
		return insideWhole + strconv.FormatUint(uint64(ids), 10)
	}
	return insideName + strconv.FormatUint(uint64(ids), 10)
}

// InsideIDs is the number of ids that argv[0] gives a second process, 0 for every other one.
func InsideIDs(name string) uint32 {
	digits, ok := strings.CutPrefix(name, insideName)
	if !ok {
		if digits, ok = strings.CutPrefix(name, insideWhole); !ok {
			return 0
		}
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// NameProcess is for ps and top, which else show a number: the second process is executed by descriptor.
func NameProcess() {
	b := [...]byte{'r', 'o', 'o', 't', 'c', 't', 'l', 0}
	_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&b)), 0, 0, 0)
}

// UserMap finds the id ranges of the user who called; path is where the programs that map them are looked for.
func UserMap(path []string) (*runner.UserMap, error) {
	name := ""
	if u, err := user.LookupId(strconv.Itoa(os.Geteuid())); err == nil {
		name = u.Username
	}
	return runner.FindUserMap("/", name, os.Geteuid(), os.Getegid(), path)
}

// RelayUntilEnd passes signals in until the second process ends, and gives its code. said are the words for people.
func RelayUntilEnd(in *runner.Inside, signals chan os.Signal) (code int, said string) {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for s := range signals {
			if sig, ok := s.(unix.Signal); ok {
				in.Signal(sig)
			}
		}
	}()
	ws := in.Wait()
	signal.Stop(signals)
	close(signals)
	<-stopped
	if !ws.Signaled() {
		return ws.ExitStatus(), ""
	}
	if ws.Signal() == unix.SIGKILL {
		said = Killed(int(ws.Signal()))
	}
	return 128 + int(ws.Signal()), said
}
