package main

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/runner/state"
)

// TestJoinAwaitsStart finds containers whose records say that they are being started.
func TestJoinAwaitsStart(t *testing.T) {
	for _, x := range []struct {
		summary         string
		starts, dies    bool
		patience, least time.Duration
	}{
		{summary: "started a moment later", starts: true, patience: time.Minute},
		{summary: "its monitor dies", dies: true, patience: time.Minute},
		{summary: "never started", patience: 50 * time.Millisecond, least: 50 * time.Millisecond},
	} {
		t.Run(x.summary, func(t *testing.T) {
			dir, err := state.Open(filepath.Join(t.TempDir(), "containers"))
			if err != nil {
				t.Fatal(err)
			}
			h, err := dir.Create(&state.Container{Name: "web", BootID: state.BootID()})
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			told := make(chan error, 1)
			go func() {
				time.Sleep(50 * time.Millisecond)
				var err error
				if now := *h.Container; x.starts {
					now.Started = time.Now()
					err = (&state.Handle{Container: &now, Path: h.Path}).Save()
				} else if x.dies {
					h.Close()
				}
				told <- err
			}()
			began := time.Now()
			c, err := findStarted(t.Context(), dir, "web", x.patience)
			took := time.Since(began)
			if err := <-told; err != nil {
				t.Fatal(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.Started.IsZero() == x.starts || c.Running == x.dies {
				t.Errorf("found started %v, running %v", c.Started, c.Running)
			}
			if took < x.least || took > 30*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}
