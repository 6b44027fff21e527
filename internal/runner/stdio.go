package runner

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// stdio gives the descriptors that the init starts with. A terminal of the user is never handed over: with TTY the
// container gets one of its own later, and otherwise a pipe stands between.
func (c *container) stdio() ([3]int, error) {
	var fds [3]int
	null := -1
	for i, f := range []*os.File{c.opts.Stdin, c.opts.Stdout, c.opts.Stderr} {
		if f == nil || c.spec.TTY {
			if null < 0 {
				n, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
				if err != nil {
					return fds, fmt.Errorf("prepare standard files: %w", err)
				}
				c.files = append(c.files, n)
				null = int(n.Fd())
			}
			fds[i] = null
			continue
		}
		fds[i] = int(f.Fd())
		if isTerminal(fds[i]) {
			r, err := newRelay(f, i == 0)
			if err != nil {
				return fds, fmt.Errorf("prepare standard files: %w", err)
			}
			c.relays = append(c.relays, r)
			fds[i] = int(r.child.Fd())
		}
	}
	return fds, nil
}

func isTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

// relay copies between a terminal of the user and a pipe of the container.
type relay struct {
	child *os.File
	input *input
	done  chan struct{}
}

func newRelay(term *os.File, in bool) (*relay, error) {
	rd, wr, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	if in {
		input, err := newInput(int(term.Fd()), wr)
		if err != nil {
			rd.Close()
			wr.Close()
			return nil, err
		}
		r := &relay{child: rd, input: input}
		go input.copy(nil)
		return r, nil
	}
	r := &relay{child: wr, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		defer rd.Close()
		copyOut(int(term.Fd()), int(rd.Fd()))
	}()
	return r, nil
}

func (r *relay) closeChildEnd() { r.child.Close() }

// finish waits until all output has been passed on and no more input is read.
func (r *relay) finish() {
	r.child.Close()
	if r.input != nil {
		r.input.finish()
		return
	}
	<-r.done
}

// input copies what a terminal or file gives to the container until told to stop, so that nothing typed after the end
// of the container is swallowed.
type input struct {
	from       int
	to         *os.File
	wake, quit *os.File
	done       chan struct{}
	typed      func([]byte) // if set, is shown all input before the container is
}

func newInput(from int, to *os.File) (*input, error) {
	rd, wr, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return &input{from: from, to: to, wake: rd, quit: wr, done: make(chan struct{})}, nil
}

// copy runs until the end of the input, an error or finish. atEnd is called at the end of the input and gets the last
// byte that was read; without it the target is closed.
func (i *input) copy(atEnd func(last byte)) {
	defer close(i.done)
	to, wake := int(i.to.Fd()), int32(i.wake.Fd())
	b := make([]byte, 4096)
	last := byte('\n')
	for {
		p := []unix.PollFd{{Fd: int32(i.from), Events: unix.POLLIN}, {Fd: wake, Events: unix.POLLIN}, {Fd: int32(to)}}
		if _, err := unix.Poll(p, -1); err != nil {
			if err == unix.EINTR {
				continue
			}
			return
		}
		if p[1].Revents != 0 || p[2].Revents&unix.POLLERR != 0 {
			return
		}
		if p[0].Revents == 0 {
			continue
		}
		n, err := unix.Read(i.from, b)
		switch {
		case err == unix.EINTR || err == unix.EAGAIN:
			continue
		case err != nil || n == 0:
			if atEnd != nil {
				atEnd(last)
			} else {
				i.to.Close()
			}
			return
		}
		last = b[n-1]
		if i.typed != nil {
			i.typed(b[:n])
		}
		if writeAll(to, b[:n]) != nil {
			return
		}
	}
}

func (i *input) finish() {
	i.quit.Close()
	<-i.done
	i.wake.Close()
	i.to.Close()
}

// copyOut copies until the source ends. If the target fails the rest is read and dropped, so that the container does
// not hang on it.
func copyOut(to, from int) {
	b := make([]byte, 32<<10)
	for {
		n, err := unix.Read(from, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return // EIO: no process has the terminal any more
		}
		if to >= 0 && writeAll(to, b[:n]) != nil {
			to = -1
		}
	}
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err == unix.EAGAIN {
			// A terminal set non-blocking by another program.
			if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, -1); err != nil && err != unix.EINTR {
				return err
			}
			continue
		}
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
