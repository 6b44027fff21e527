package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// eachResult is what became of one root; its fields are an interface to scripts.
type eachResult struct {
	Name    string  `json:"name"`
	Digest  string  `json:"digest"` // "" if the root could not be made
	How     string  `json:"how"`    // cached, pulled or built
	Ensure  float64 `json:"ensure_seconds"`
	Started bool    `json:"started"`
	Exit    int     `json:"exit"` // of the command, 125 without a root; of no meaning if it was not started
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"` // why there is no root

	net   string // the recipe's network for it, if --net gives none
	began time.Time
	tail  tail
}

// eachRun is a run of each. A root is ensured by one process of rootctl and run by another, for a process has one container,
// one progress and one user namespace.
type eachRun struct {
	a                  *app
	opt                *eachFlags
	selecting, running []string // flags
	results            []eachResult
	lines              *eachOutput

	mu       sync.Mutex
	children map[*os.Process]bool
	stopped  bool
}

func newEach(a *app, opt *eachFlags, names []string) *eachRun {
	e := &eachRun{a: a, opt: opt, results: make([]eachResult, len(names)), children: map[*os.Process]bool{}}
	e.lines = newEachOutput(a, names, opt.json)
	for i, name := range names {
		e.results[i] = eachResult{Name: name, Exit: codeRunFailed}
	}
	return e
}

// minEnsures are made beside each other whatever --jobs says: most of their time is the network's.
const minEnsures = 4

// all ensures the roots beside each other, runs each as soon as it is there, and waits for the last.
func (e *eachRun) all(names, argv []string) {
	signals := make(chan os.Signal, 8)
	e.a.signals.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	defer e.a.signals.Stop(signals)
	ended := make(chan struct{})
	defer close(ended)
	go e.passSignals(signals, ended)

	ensures, runs := make(room, max(e.opt.jobs, minEnsures)), make(room, e.opt.jobs)
	var wg sync.WaitGroup
	for i := range names {
		wg.Go(func() {
			r, ready := &e.results[i], false
			ensures.in(func() { ready = e.ensure(i, r) })
			if ready {
				runs.in(func() { e.run(i, r, argv) })
			}
		})
	}
	wg.Wait()
}

// room bounds how many do something at a time.
type room chan struct{}

func (r room) in(f func()) {
	r <- struct{}{}
	defer func() { <-r }()
	f()
}

func (e *eachRun) ensure(i int, r *eachResult) bool {
	var out bytes.Buffer
	start := e.a.now()
	errs := e.lines.of(i, true, &r.tail)
	code, started := e.child(append([]string{"each", "--only-ensure", "--json"}, append(e.selecting, r.Name)...), &out, errs)
	errs.flush()
	r.Ensure = e.a.now().Sub(start).Seconds()
	if !started {
		return false
	}
	var said struct{ How, Digest, Error string }
	err := json.Unmarshal(out.Bytes(), &said)
	if code == 0 && err == nil {
		r.How, r.Digest = said.How, said.Digest
		return true
	}
	r.Error = said.Error
	if r.Error == "" {
		r.Error = "the root could not be made"
	}
	return false
}

func (e *eachRun) run(i int, r *eachResult, argv []string) {
	out, errs := e.lines.of(i, false, &r.tail), e.lines.of(i, true, &r.tail)
	args := append([]string{"run"}, e.running...)
	if r.net != "" {
		args = append(args, "--net="+r.net)
	}
	args = append(append(args, r.Digest, "--"), argv...)
	r.began = e.a.now()
	code, started := e.child(args, out, errs)
	out.flush()
	errs.flush()
	if started {
		r.Started, r.Exit, r.Seconds = true, code, e.a.now().Sub(r.began).Seconds()
	}
}

// outputDelay is how long output is waited for after the end of a process.
const outputDelay = 5 * time.Second

// child runs this program again, in a process group of its own: a terminal's signals reach it by passSignals alone. It ends
// with the thread that made it, however that ends. started is false if there was none, for each is to end.
func (e *eachRun) child(args []string, stdout, stderr io.Writer) (code int, started bool) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var global []string
	if e.a.cacheDir != "" {
		global = append(global, "--cache="+e.a.cacheDir)
	}
	if e.a.quiet {
		global = append(global, "--quiet")
	}
	if e.a.verbose {
		global = append(global, "--verbose")
	}
	c := exec.Cmd{Path: "/proc/self/exe", Args: append(append([]string{"rootctl"}, global...), args...), Stdout: stdout, Stderr: stderr,
		WaitDelay: outputDelay, SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGTERM}}
	if !e.start(&c) {
		return codeRunFailed, false
	}
	_ = c.Wait() // the state has the code
	e.mu.Lock()
	delete(e.children, c.Process)
	e.mu.Unlock()
	code = c.ProcessState.ExitCode()
	if ws, ok := c.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		code = 128 + int(ws.Signal())
	}
	return code, true
}

func (e *eachRun) start(c *exec.Cmd) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopped {
		return false
	}
	if err := c.Start(); err != nil {
		e.a.warn("start rootctl: %v", err)
		return false
	}
	e.children[c.Process] = true
	return true
}

// passSignals hands the first signal on and starts nothing more; the next one kills, after which keepers tidy up.
func (e *eachRun) passSignals(signals <-chan os.Signal, ended <-chan struct{}) {
	for {
		var sig os.Signal
		select {
		case sig = <-signals:
		case <-ended:
			return
		}
		e.mu.Lock()
		if e.stopped {
			sig = unix.SIGKILL
		}
		e.stopped = true
		for p := range e.children {
			_ = p.Signal(sig) // fails only if it has ended
		}
		e.mu.Unlock()
	}
}

// worst is the highest exit code; an interrupted each never looks like success.
func (e *eachRun) worst() int {
	worst := 0
	for i := range e.results {
		worst = max(worst, e.results[i].Exit)
	}
	if e.stopped {
		worst = max(worst, codeInterrupted)
	}
	return worst
}
