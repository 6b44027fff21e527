package runner

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// terminal joins the user's terminal, if there is one, with the master of the container's own.
type terminal struct {
	master *os.File
	init   int            // its pid
	keys   chan<- *watch  // to the stopper
	user   int            // descriptor of the user's terminal, -1 if input comes from elsewhere
	saved  *unix.Termios  // its settings before
	resize chan os.Signal // WINCH and CONT
	sized  chan struct{}  // the resizer has ended
	input  *input
	output chan struct{} // all output has been written
}

// takeTerminal receives the master from the init, sets it up like the user's terminal and lets the init go on.
func (c *container) takeTerminal() error {
	op := c.plan.find(VerbTerminal)
	fd, err := receiveFD(c.sock)
	if err != nil {
		return stepError(op, "recvmsg", err)
	}
	if err := checkMaster(fd); err != nil {
		unix.Close(fd)
		return stepError(op, "fstatfs", err)
	}
	t := &terminal{master: os.NewFile(uintptr(fd), "container terminal"), init: c.pid, keys: c.stop.keys, user: -1, output: make(chan struct{})}
	in, out := -1, -1
	if c.opts.Stdin != nil {
		in = int(c.opts.Stdin.Fd())
	}
	if c.opts.Stdout != nil {
		out = int(c.opts.Stdout.Fd())
	}
	c.term = t
	switch {
	case in >= 0 && isTerminal(in):
		t.user = in
		if err := t.raw(); err != nil {
			return stepError(op, "ioctl TCSETS", err)
		}
		t.size(in)
	case out >= 0 && isTerminal(out):
		t.size(out)
	}
	t.start(in, out)
	return stepError(op, "sendmsg", unix.Sendmsg(c.sock, []byte{'t'}, nil, nil, unix.MSG_NOSIGNAL))
}

// checkMaster refuses what is no terminal: a container that has been running chose what has the name.
func checkMaster(fd int) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return err
	}
	if fs.Type != unix.DEVPTS_SUPER_MAGIC {
		return errors.New("/dev/pts/ptmx inside is no terminal")
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		return err
	}
	_, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	return err
}

var errNoDescriptor = errors.New("no descriptor in the message")

// receiveFD takes one descriptor from a socket.
func receiveFD(sock int) (int, error) {
	b, oob := make([]byte, 8), make([]byte, unix.CmsgSpace(4))
	for {
		n, on, _, _, err := unix.Recvmsg(sock, b, oob, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return -1, err
		}
		if n == 0 {
			return -1, fmt.Errorf("the container ended while it was set up")
		}
		m, err := unix.ParseSocketControlMessage(oob[:on])
		if err != nil || len(m) != 1 {
			return -1, errNoDescriptor
		}
		fds, err := unix.ParseUnixRights(&m[0])
		if err != nil || len(fds) != 1 {
			return -1, errNoDescriptor
		}
		return fds[0], nil
	}
}

// raw passes every key on to the container. Its terminal starts with the settings of the user's (erase key, UTF-8).
func (t *terminal) raw() error {
	saved, err := unix.IoctlGetTermios(t.user, unix.TCGETS)
	if err != nil {
		return err
	}
	if err := unix.IoctlSetTermios(int(t.master.Fd()), unix.TCSETS, saved); err != nil {
		return err
	}
	t.saved = saved
	return t.setRaw()
}

func (t *terminal) setRaw() error {
	r := *t.saved
	r.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	r.Oflag &^= unix.OPOST
	r.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	r.Cflag = r.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	r.Cc[unix.VMIN], r.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(t.user, unix.TCSETS, &r)
}

// size gives the container's terminal the size of another one.
func (t *terminal) size(from int) {
	// A terminal without a size is no reason to fail.
	if w, err := unix.IoctlGetWinsize(from, unix.TIOCGWINSZ); err == nil {
		_ = unix.IoctlSetWinsize(int(t.master.Fd()), unix.TIOCSWINSZ, w)
	}
}

func (t *terminal) start(in, out int) {
	master := int(t.master.Fd())
	if t.user >= 0 {
		t.resize, t.sized = make(chan os.Signal, 4), make(chan struct{})
		signal.Notify(t.resize, unix.SIGWINCH, unix.SIGCONT)
		t.size(t.user) // it may have changed before we were told of changes
		go func() {
			defer close(t.sized)
			for s := range t.resize {
				if s == unix.SIGCONT {
					_ = t.setRaw() // the shell has put its own settings back while we were stopped
				}
				t.size(t.user)
			}
		}()
	}
	go func() {
		defer close(t.output)
		copyOut(out, master)
	}()
	if in < 0 {
		t.endOfInput('\n')
		return
	}
	dup, err := unix.FcntlInt(uintptr(master), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return
	}
	t.input, err = newInput(in, os.NewFile(uintptr(dup), "container terminal"))
	if err != nil {
		unix.Close(dup)
		t.input = nil
		return
	}
	t.input.typed = t.typed
	go t.input.copy(t.endOfInput)
}

// typed tells the stopper of keys that send a signal to the init's group. The kernel drops it for an init without a
// handler, and one that then wants to die of it cannot.
func (t *terminal) typed(b []byte) {
	master := int(t.master.Fd())
	s, err := unix.IoctlGetTermios(master, unix.TCGETS)
	if err != nil || s.Lflag&unix.ISIG == 0 {
		return
	}
	for _, k := range [...]struct {
		char uint8
		sig  syscall.Signal
	}{{s.Cc[unix.VINTR], unix.SIGINT}, {s.Cc[unix.VQUIT], unix.SIGQUIT}} {
		if k.char == 0 || bytes.IndexByte(b, k.char) < 0 { // 0 turns a key off
			continue
		}
		if group, err := unix.IoctlGetInt(master, unix.TIOCGPGRP); err != nil || group != t.init {
			return
		}
		select {
		case t.keys <- newWatch(t.init, k.sig): // before the key arrives: what it runs then is seen to be another program
		default: // it has enough of them, or has ended
		}
	}
}

// endOfInput types the end-of-file key: twice if a line is begun, for the first one only ends the line.
func (t *terminal) endOfInput(last byte) {
	eof := byte(4)
	if s, err := unix.IoctlGetTermios(int(t.master.Fd()), unix.TCGETS); err == nil {
		eof = s.Cc[unix.VEOF]
	}
	keys := []byte{eof}
	if last != '\n' {
		keys = []byte{eof, eof}
	}
	_ = writeAll(int(t.master.Fd()), keys) // fails only if the container has ended
}

// finish passes on what is still to be read, then puts the user's terminal back.
func (t *terminal) finish() {
	if t.input != nil {
		t.input.finish()
	}
	<-t.output
	if t.resize != nil {
		signal.Stop(t.resize)
		close(t.resize)
		<-t.sized
	}
	if t.saved != nil {
		_ = unix.IoctlSetTermios(t.user, unix.TCSETS, t.saved)
	}
	t.master.Close()
}
