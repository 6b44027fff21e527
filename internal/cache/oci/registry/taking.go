package registry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// takeStall is how long a registry may take nothing of what is sent to it: some write what they have to slow disks meanwhile.
const takeStall = time.Minute

// A takenConn ends when the other side takes nothing of what is written for a while, or hardly anything all the time.
type takenConn struct {
	net.Conn
	stall, grace time.Duration
	waited       time.Duration
	n            int64
}

func (c *takenConn) Write(b []byte) (n int, err error) {
	for {
		start := time.Now()
		if err := c.SetWriteDeadline(start.Add(c.stall)); err != nil {
			return n, err
		}
		taken, err := c.Conn.Write(b[n:])
		n += taken
		c.n += int64(taken)
		c.waited += time.Since(start)
		late := errors.Is(err, os.ErrDeadlineExceeded)
		switch {
		case late && taken == 0:
			return n, &slowError{fmt.Sprintf("the registry took nothing for %s", c.stall), true}
		case late && c.waited > c.grace && float64(c.n) < minRate*c.waited.Seconds():
			return n, &slowError{fmt.Sprintf("the registry took %d bytes in %s", c.n, c.waited.Round(time.Second)), true}
		case !late:
			return n, err
		}
	}
}

// dialer makes connections that end when the other side does not take what is written.
func dialer(stall time.Duration) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{Timeout: 15 * time.Second}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &takenConn{Conn: c, stall: stall, grace: grace}, nil
	}
}
