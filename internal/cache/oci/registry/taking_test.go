package registry

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/cache/oci"
)

// deafServer says yes to all but uploads, of whose bodies it reads a byte after each pause; 0 is none at all.
func deafServer(t *testing.T, pause time.Duration) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	end := make(chan struct{})
	serve := func(c net.Conn) {
		defer c.Close()
		_ = c.(*net.TCPConn).SetReadBuffer(4 << 10) // of a size that fills
		one := &onlyOne{c}
		for in := bufio.NewReader(one); ; {
			req, err := http.ReadRequest(in)
			if err != nil { // also TLS's first words
				_, _ = io.WriteString(c, "HTTP/1.0 400 Bad Request\r\n\r\n")
				_, _ = io.Copy(io.Discard, c)
				return
			}
			switch req.Method {
			case http.MethodPut:
				for pause > 0 {
					select {
					case <-end:
						return
					case <-time.After(pause):
					}
					if _, err := io.CopyN(io.Discard, c, 1); err != nil {
						return
					}
				}
				<-end
				return
			case http.MethodPost:
				_, _ = io.WriteString(c, "HTTP/1.1 202 Accepted\r\nLocation: /v2/r/blobs/uploads/1\r\nContent-Length: 0\r\n\r\n")
			case http.MethodHead:
				_, _ = io.WriteString(c, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
			default:
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
			}
		}
	}
	wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() { serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		close(end)
		wait.Wait()
	})
	return l.Addr().String()
}

// onlyOne reads so little at a time that a body stays where it is.
type onlyOne struct{ io.Reader }

func (o *onlyOne) Read(b []byte) (int, error) { return o.Reader.Read(b[:1]) }

// A push to a server that takes nothing of a blob, or next to nothing, ends.
func TestPushIsTaken(t *testing.T) {
	blob := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // more than sockets hold
	for _, tt := range []struct {
		summary string
		pause   time.Duration
	}{{"nothing", 0}, {"a byte now and then", 30 * time.Millisecond}} {
		t.Run(tt.summary, func(t *testing.T) {
			ref, err := ParseRef(deafServer(t, tt.pause) + "/r")
			if err != nil {
				t.Fatal(err)
			}
			r, err := Open(ref, Options{Insecure: true, Log: slog.New(slog.DiscardHandler), TakeStall: 400 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			_, err = r.Push(context.Background(), &Upload{Blobs: []Content{{Descriptor: describe(oci.TypeTar, blob), Data: blob}}})
			var failed *Error
			if !errors.As(err, &failed) || !strings.Contains(err.Error(), "the registry took") || failed.Hint() == "" {
				t.Errorf("%v", err)
			}
			if took := time.Since(begun); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// A connection whose other side takes a little all the time ends when that is too little, and goes on when it is enough.
func TestTakenConn(t *testing.T) {
	for _, tt := range []struct {
		summary string
		size    int // of what is taken each 5 ms
		want    string
	}{{"slow", 1, "bytes in"}, {"in time", 4 << 10, ""}} {
		ours, theirs := net.Pipe()
		c := &takenConn{Conn: ours, stall: 100 * time.Millisecond, grace: 500 * time.Millisecond}
		done := make(chan error, 1)
		go func() {
			_, err := c.Write(make([]byte, 256<<10))
			ours.Close()
			done <- err
		}()
		for b := make([]byte, tt.size); ; time.Sleep(20 * time.Millisecond) {
			if _, err := theirs.Read(b); err != nil {
				break
			}
		}
		theirs.Close()
		err := <-done
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v", tt.summary, err)
		}
	}
}
