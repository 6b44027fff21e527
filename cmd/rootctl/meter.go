package main

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// A meter paints how many of so many bytes are done: a bar on a terminal, else nothing. It is an io.Writer for a
// TeeReader or MultiWriter.
type meter struct {
	done  atomic.Int64
	bar   *progressbar.ProgressBar // nil: paints nothing
	stop  chan struct{}
	ended sync.Once
	paint sync.WaitGroup
}

func (a *app) startMeter(text string, total int64) *meter {
	m := &meter{stop: make(chan struct{})}
	if a.quiet || total <= 0 || !term.IsTerminal(int(a.stderr.Fd())) {
		return m
	}
	width := columns(a.stderr)
	m.bar = progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(a.stderr), progressbar.OptionSetWidth(barWidth(width)), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(false), progressbar.OptionEnableColorCodes(false),
		progressbar.OptionSetDescription(fit(text, width-barWidth(width)-barRest)),
		progressbar.OptionSetTheme(progressbar.Theme{Saucer: "=", SaucerHead: ">", SaucerPadding: " ", BarStart: "[", BarEnd: "]"}))
	m.paint.Add(1)
	go func() {
		defer m.paint.Done()
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-m.stop:
				_ = m.bar.Clear() // the bar only writes to stderr
				return
			case <-tick.C:
				_ = m.bar.Set64(min(m.done.Load(), total-1))
			}
		}
	}()
	return m
}

// Write counts b.
func (m *meter) Write(b []byte) (int, error) {
	m.done.Add(int64(len(b)))
	return len(b), nil
}

// close ends painting; it may be called again.
func (m *meter) close() {
	if m.bar != nil {
		m.ended.Do(func() { close(m.stop) })
		m.paint.Wait()
	}
}
