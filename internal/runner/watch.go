package runner

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"time"
)

const (
	watchEvery = 25 * time.Millisecond
	// dyingTime is left to a process that has put the default action back, for its last steps. It is short, because bash
	// goes on with its next command when the signal that it sends itself is dropped.
	dyingTime = 100 * time.Millisecond
	// keyTime is how long a key is the likely reason for putting the default action back; it can be typed again.
	keyTime = 2 * time.Second
)

// watch follows what the init makes of a signal. A process that wants to die of a signal it has a handler for (make,
// bash, dash) puts the default action back and sends the signal to itself; the first process of a pid namespace survives
// that, and some then go on as if nothing had happened.
type watch struct {
	pid     int
	sig     syscall.Signal
	until   time.Time // when to stop looking for the default action, zero for never
	program []byte    // tells one execve of the init from the next
	since   time.Time // the default action has been seen to be back
}

func newWatch(pid int, sig syscall.Signal) *watch {
	return &watch{pid: pid, sig: sig, program: programOf(pid)}
}

// look says whether the signal would have ended any other process by now, or whether there is nothing to wait for.
func (w *watch) look(now time.Time) (dying, over bool) {
	if reactionOf(w.pid, w.sig) != byDefault {
		w.since = time.Time{}
		return false, !w.until.IsZero() && now.After(w.until)
	}
	if !bytes.Equal(programOf(w.pid), w.program) {
		return false, true // execve resets handlers: a new program that the signal was not meant for
	}
	if w.since.IsZero() {
		w.since = now
	}
	return now.Sub(w.since) >= dyingTime, false
}

// reaction is what a process does with a signal.
type reaction int

const (
	byDefault reaction = iota
	ignores
	// takes: it has a handler, or blocks the signal. It may read it then (tini, dumb-init), or still be in its handler,
	// where make puts the default action back first and then waits for its children and deletes half-made files.
	takes
)

// reactionOf asks the kernel. A process that has ended has no handlers.
func reactionOf(pid int, sig syscall.Signal) reaction {
	b, err := os.ReadFile(procPath(pid, "status"))
	switch {
	case err != nil:
	case inSet(b, "SigCgt", sig) || inSet(b, "SigBlk", sig):
		return takes
	case inSet(b, "SigIgn", sig):
		return ignores
	}
	return byDefault
}

// inSet looks a signal up in a line of /proc/PID/status.
func inSet(status []byte, name string, sig syscall.Signal) bool {
	_, line, ok := bytes.Cut(status, []byte("\n"+name+":"))
	if !ok {
		return false
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	set, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 64)
	return err == nil && sig > 0 && set&(1<<(sig-1)) != 0
}

// programOf is different after each execve: the auxiliary vector holds addresses that the kernel chooses anew.
func programOf(pid int) []byte {
	b, _ := os.ReadFile(procPath(pid, "auxv")) // where it cannot be read, all programs are alike
	return b
}
