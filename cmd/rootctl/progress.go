package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/rootctl/rootctl/internal/debootstrap"
)

// weights say which share of a cold build a stage takes, for one aggregate bar: measured on bookworm
// and bionic minbase, where configuring takes about half.
var stageWeights = []struct {
	stage  string
	weight float64
}{
	{debootstrap.StageIndex, 0.10}, {debootstrap.StageDownload, 0.20}, {debootstrap.StageUnpack, 0.20},
	{debootstrap.StageConfigure, 0.42}, {debootstrap.StageHash, 0.08},
}

const barSteps = 1000

// progress paints the events of one build: an aggregate bar on a terminal, else a line a stage.
// Workers only report; a ticker paints.
type progress struct {
	a     *app
	of    string                   // stands before each line, "" where nothing else is built meanwhile
	bar   *progressbar.ProgressBar // nil: plain lines
	stop  chan struct{}
	done  sync.WaitGroup
	ended sync.Once

	mu      sync.Mutex
	stage   string
	seen    map[string]debootstrap.Event
	began   time.Time // of the whole build
	started time.Time // of the download
}

func (a *app) startProgress() *progress { return a.startProgressOf("") }

// startProgressOf tells the lines of builds that go on beside each other by their names.
func (a *app) startProgressOf(name string) *progress {
	p := &progress{a: a, seen: make(map[string]debootstrap.Event), stop: make(chan struct{})}
	if name != "" {
		p.of = name + ": "
		return p
	}
	if a.quiet || !term.IsTerminal(int(a.stderr.Fd())) {
		return p
	}
	p.began = time.Now()
	p.bar = progressbar.NewOptions(barSteps,
		progressbar.OptionSetWriter(a.stderr), progressbar.OptionSetWidth(barWidth(columns(a.stderr))), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(false), progressbar.OptionEnableColorCodes(false),
		progressbar.OptionSetTheme(progressbar.Theme{Saucer: "=", SaucerHead: ">", SaucerPadding: " ", BarStart: "[", BarEnd: "]"}))
	p.done.Add(1)
	go p.paint()
	return p
}

// report takes one event; it is called from many goroutines.
func (p *progress) report(e debootstrap.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Stage == debootstrap.StageMirror {
		if p.bar != nil {
			_ = p.bar.Clear() // the bar only writes to stderr
		}
		p.a.say("%snote: %s", p.of, e.Item)
		return
	}
	_, known := p.seen[e.Stage]
	known = known && e.Stage != debootstrap.StageWait // of which each is another
	if e.Stage == debootstrap.StageDownload && !known {
		p.started = time.Now()
	}
	p.seen[e.Stage] = e
	if stageRank(e.Stage) >= stageRank(p.stage) {
		p.stage = e.Stage
	}
	if !known && (p.bar == nil || e.Stage == debootstrap.StageDownload || e.Stage == debootstrap.StageWait) {
		if p.bar != nil {
			_ = p.bar.Clear() // the bar only writes to stderr
		}
		if line := plainLine(e); line != "" {
			p.a.say("%s%s", p.of, line)
		}
	}
}

// downloaded reports whether anything came of the packages.
func (p *progress) downloaded() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen[debootstrap.StageDownload].Done > 0
}

func stageRank(stage string) int {
	for i, w := range stageWeights {
		if w.stage == stage {
			return i
		}
	}
	return -1
}

// plainLine is what a log shows when a stage begins.
func plainLine(e debootstrap.Event) string {
	switch e.Stage {
	case debootstrap.StageWait:
		return "waiting for " + e.Item
	case debootstrap.StageIndex:
		return "reading the package index"
	case debootstrap.StagePull:
		return fmt.Sprintf("pulling %s from %s", bytesText(e.Total), e.Item)
	case debootstrap.StageDownload:
		return "downloading " + bytesText(e.Total)
	case debootstrap.StageUnpack:
		return fmt.Sprintf("unpacking %d packages", e.Total)
	case debootstrap.StageConfigure:
		return fmt.Sprintf("configuring %d packages", e.Total)
	case debootstrap.StageHash:
		return "hashing and sealing the root"
	}
	return ""
}

func (p *progress) paint() {
	defer p.done.Done()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			_ = p.bar.Clear() // the bar only writes to stderr
			return
		case <-tick.C:
			p.mu.Lock()
			steps, text := p.state()
			width := columns(p.a.stderr)
			if text != "" {
				p.bar.Describe(fit(text, width-barWidth(width)-barRest))
				_ = p.bar.Set(steps)
			}
			p.mu.Unlock()
		}
	}
}

// state is the bar's position and its text; p.mu is held.
func (p *progress) state() (int, string) {
	sum := 0.0
	for _, w := range stageWeights {
		if e, ok := p.seen[w.stage]; ok && e.Total > 0 {
			sum += w.weight * min(1, float64(e.Done)/float64(e.Total))
		}
	}
	text := p.stage
	if e := p.seen[p.stage]; e.Total > 0 && (p.stage == debootstrap.StageUnpack || p.stage == debootstrap.StageConfigure) {
		text += fmt.Sprintf(" %d/%d packages", e.Done, e.Total)
	}
	if e, ok := p.seen[debootstrap.StageDownload]; ok && e.Done < e.Total {
		rate := float64(e.Done) / max(0.001, time.Since(p.started).Seconds())
		text += fmt.Sprintf(", %s of %s, %s/s", bytesText(e.Done), bytesText(e.Total), bytesText(int64(rate)))
	}
	if took := time.Since(p.began).Seconds(); sum > 0.2 && took > 1 {
		text += fmt.Sprintf(", %.0f s left", took*(1-sum)/sum)
	}
	return min(barSteps-1, int(sum*barSteps)), text
}

// barRest is what stands around the bar: percentage, brackets, blanks.
const barRest = 12

// barWidth leaves the text most of a narrow terminal.
func barWidth(columns int) int { return min(20, columns/5) }

// columns is the width of a terminal, 80 where it does not say.
func columns(f *os.File) int {
	w, _, err := term.GetSize(int(f.Fd()))
	if err != nil || w <= 0 {
		return 80
	}
	return w
}

// fit cuts a text at a comma, then anywhere, so that the line does not wrap.
func fit(text string, width int) string {
	for len(text) > width {
		i := strings.LastIndexByte(text, ',')
		if i < 0 {
			return text[:max(0, width)]
		}
		text = text[:i]
	}
	return text
}

// close ends painting and clears the bar; it may be called again.
func (p *progress) close() {
	if p.bar != nil {
		p.ended.Do(func() { close(p.stop) })
		p.done.Wait()
	}
}

// bytesText writes a size in decimal units, as apt does.
func bytesText(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.0f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d B", n)
}
