package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/container"
	"github.com/rootctl/rootctl/internal/runner"
	"github.com/rootctl/rootctl/internal/runner/state"
)

// stateFlags say what becomes of a container beside its command.
type stateFlags struct {
	detach  bool
	name    string
	keep    bool
	remove  bool
	timeout time.Duration
	json    bool
}

func (s *stateFlags) register(f *pflag.FlagSet) {
	f.BoolVarP(&s.detach, "detach", "d", false, "go on without this terminal: print the container's ID; it is kept until rootctl rm")
	f.StringVar(&s.name, "name", "", "call the container `NAME`")
	f.BoolVar(&s.keep, "keep", false, "keep the copy and the record until rootctl rm")
	f.BoolVar(&s.remove, "rm", false, "with -d: keep neither the copy nor the record when it ends")
	f.DurationVar(&s.timeout, "timeout", 0, "stop the command after a `time` like 90s or 1h, with exit code 124")
	f.BoolVar(&s.json, "json", false, "with -d print JSON; else how the command ended, as JSON on stderr")
}

func (s *stateFlags) check(inMemory bool) error {
	if s.name != "" && !state.ValidName(s.name) {
		return &flagError{&state.NameError{Name: s.name}}
	}
	if s.timeout < 0 {
		return withHint(&flagError{fmt.Errorf("--timeout %v is negative", s.timeout)}, "--timeout 90s")
	}
	if s.keep && s.remove {
		return withHint(&flagError{errors.New("--keep and --rm contradict each other")}, "drop one of the two")
	}
	if s.keep && inMemory {
		return withHint(&flagError{errors.New("--keep needs a copy on disk")}, "leave out --upper=tmpfs")
	}
	return nil
}

const codeTimeout = 124

// keptContainer is what lies beside a kept copy: the record, which does not survive the next start of the machine.
type keptContainer struct {
	Record    string          `json:"record"` // its folder
	Container state.Container `json:"container"`
}

// annotate writes it.
func (r *record) annotate() error {
	if r.Copy == "" || !r.Keep {
		return nil
	}
	b, err := json.Marshal(keptContainer{r.Path, *r.Container})
	if err != nil {
		return err
	}
	return r.store.Annotate(r.Copy, b)
}

// stateDir is where the caller's containers are recorded. In a user namespace the first process has said where.
func (a *app) stateDir() string {
	if dir := a.getenv("ROOTCTL_STATE"); dir != "" {
		return dir
	}
	return container.RecordsPath(a.getenv, os.Geteuid())
}

// openState opens the records. In /tmp anybody could have made the folder above them, so that one is checked too.
func (a *app) openState() (*state.Dir, error) {
	dir := a.stateDir()
	if _, err := state.Open(filepath.Dir(dir)); err != nil {
		return nil, withHint(err, "set XDG_RUNTIME_DIR to a folder of your own")
	}
	return state.Open(dir)
}

// A record is a container's state while this process is its monitor.
type record struct {
	*state.Handle // nil if there is none
	fl            *stateFlags
	detached      bool
	store         *cache.Store
	timer         *time.Timer
	late          atomic.Bool
}

// newRecord begins the record of a container. A run in the foreground that nothing is asked of does without one where it
// cannot be made.
func (a *app) newRecord(fl *stateFlags, name string, lease *cache.Lease, store *cache.Store) (*record, error) {
	r := &record{fl: fl, detached: a.monitor, store: store}
	dir, err := a.openState()
	if err == nil {
		err = dir.Sweep()
	}
	if err == nil {
		c := &state.Container{Name: fl.name, Root: string(lease.Root), RootName: name, Created: a.now(), Detached: a.monitor,
			Keep: fl.keep || a.monitor && !fl.remove, Cache: store.Dir(), Monitor: os.Getpid()}
		if fl.name != "" { // else it is written down later, when there is time
			r.monitorStart(c)
		}
		r.Handle, err = dir.Create(c)
	}
	if err != nil && !a.monitor && !fl.keep && fl.name == "" {
		a.log().Debug("no record of this container", "error", err)
		return r, nil
	}
	return r, err
}

// monitorStart notes when this process began.
func (r *record) monitorStart(c *state.Container) {
	c.MonitorStart, _ = state.StartTime(c.Monitor) // 0 matches no process
}

// hold adds the record to what the keeper holds and removes.
func (r *record) hold(keep *runner.Keep) {
	if r.Handle == nil {
		return
	}
	keep.Locks = append(keep.Locks, r.LockFile())
	if !r.Keep {
		keep.Remove = append(keep.Remove, r.Path)
	}
}

// made is told of the init before its command is: a sweep finds it from now on, whoever else is killed.
func (r *record) made(a *app, spec *runner.Spec) func(runner.Process) error {
	return func(p runner.Process) error {
		if r.Handle == nil {
			return nil
		}
		r.Mark(p)
		r.monitorStart(r.Container)
		r.Spec = *spec
		return errors.Join(r.save(a), r.annotate())
	}
}

// save is Save, without which a run goes on that newRecord would have let go without a record: another container's log
// may have filled the folder.
func (r *record) save(a *app) error {
	err := r.Save()
	if err != nil && !r.Keep && r.fl.name == "" {
		a.log().Debug("no record of this container", "error", err)
		return nil
	}
	return err
}

// started is told of the init when its command has been executed.
func (r *record) started(a *app, cancel func()) func(runner.Process) error {
	return func(p runner.Process) error {
		if r.fl.timeout > 0 {
			r.timer = time.AfterFunc(r.fl.timeout, func() {
				r.late.Store(true)
				cancel()
			})
		}
		if r.Handle == nil {
			return nil
		}
		r.Started, r.Cgroups = a.now(), p.Cgroups // which were made meanwhile
		if err := r.save(a); err != nil || !r.detached {
			return err
		}
		return a.ready(r)
	}
}

// ended writes down how the command ended, or removes what is not to be kept.
func (r *record) ended(a *app, store *cache.Store, st *runner.Status, failed bool) error {
	if r.timer != nil {
		r.timer.Stop()
	}
	if r.late.Load() {
		st.Code, st.TimedOut, st.Outside = codeTimeout, false, false
	}
	if r.Handle == nil {
		return nil
	}
	if !r.Keep || failed {
		return r.Remove()
	}
	r.Ended, r.Status = a.now(), st
	err := errors.Join(r.Save(), r.annotate())
	r.Close()
	return err
}

// graceFile is where stop leaves how many seconds the command has until KILL, before it signals the monitor.
const graceFile = "grace"

func (r *record) grace() time.Duration {
	if r.Handle == nil {
		return 0
	}
	b, err := os.ReadFile(filepath.Join(r.Path, graceFile))
	if err != nil {
		return 0 // the usual one
	}
	n, err := strconv.Atoi(string(b))
	if err != nil || n < 0 || n > maxGrace {
		return 0
	}
	return time.Duration(n) * time.Second
}

// ready tells the process that waits for this monitor of the container, and lets its streams go.
func (a *app) ready(r *record) error {
	line := r.ID
	if r.fl.json {
		b, err := json.Marshal(map[string]any{"id": r.ID, "name": r.Name, "pid": r.PID})
		if err != nil {
			return err
		}
		line = string(b)
	}
	if _, err := fmt.Fprintln(a.stdout, line); err != nil {
		return fmt.Errorf("tell the container's ID: %w", err) // nobody waits for it any more
	}
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	for _, f := range []*os.File{a.stdout, a.stderr} {
		if err := unix.Dup3(int(null.Fd()), int(f.Fd()), 0); err != nil {
			return fmt.Errorf("let go of the caller's streams: %w", err)
		}
	}
	return nil
}

// maxLog bounds the log of one container, which lies in memory.
const maxLog = 64 << 20

// openLog gives the container a pipe to its log. A file would let it fill the memory of the host. done waits for the rest.
func (r *record) openLog() (w *os.File, done func(), err error) {
	f, err := os.OpenFile(filepath.Join(r.Path, "log"), os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, nil, err
	}
	rd, w, err := os.Pipe()
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer f.Close()
		defer rd.Close()
		if n, err := io.Copy(f, io.LimitReader(rd, maxLog)); err != nil || n == maxLog {
			fmt.Fprintf(f, "\nrootctl: the log ends here, after %d bytes\n", n)
		}
		_, _ = io.Copy(io.Discard, rd) // the container is not to hang on a full log
	}()
	return w, func() { w.Close(); <-ended }, nil
}

// withRecord runs a container as recorded: with its timeout and, detached, its log.
func (a *app) withRecord(ctx context.Context, store *cache.Store, r *record, spec runner.Spec, o runner.Options) (runner.Status, error) {
	in, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	o.Made, o.Started, o.Grace = r.made(a, &spec), r.started(a, cancel), r.grace
	if r.detached {
		w, done, err := r.openLog()
		if err != nil {
			return runner.Status{}, errors.Join(fmt.Errorf("make the log: %w", err), r.Remove())
		}
		o.Stdin, o.Stdout, o.Stderr = nil, w, w
		defer done()
		if spec.TTY { // whose input does not end, and nobody types
			rd, keys, err := os.Pipe()
			if err != nil {
				return runner.Status{}, errors.Join(fmt.Errorf("make the terminal's input: %w", err), r.Remove())
			}
			defer keys.Close()
			defer rd.Close()
			o.Stdin = rd
		}
	}
	st, err := runner.Run(in, spec, o)
	if end := r.ended(a, store, &st, err != nil); err == nil {
		err = end
	} else if end != nil {
		a.log().Debug("the container's record stays, until the next command sweeps it", "error", end)
	}
	return st, err
}

// reportEnd says in JSON how the command ended.
func (a *app) reportEnd(fl *stateFlags, st runner.Status) {
	if !fl.json || a.monitor {
		return
	}
	_ = json.NewEncoder(a.stderr).Encode(map[string]any{"code": st.Code, "signal": st.Signal, "killed_from_outside": st.Outside,
		"over_memory": st.OverMemory, "timed_out": st.Code == codeTimeout})
}
