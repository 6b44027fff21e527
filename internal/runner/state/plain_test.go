package state

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/runner"
)

// plainOne is the record of a run of which nothing was asked.
func plainOne() *Container {
	at := time.Date(2026, 11, 24, 13, 33, 24, 834334895, time.UTC)
	return &Container{ID: "b4cc22d485cf", Name: "web", Root: "0bce", RootName: "bionic", Created: at, Started: at.Add(time.Second), PID: 7352,
		StartTime: 8005900, PidfdInode: 13456067, BootID: "1378a9fb", Monitor: 7340, MonitorStart: 8005897, Detached: true, Keep: true, Cache: "/c", Copy: "/c/scratch/0",
		Spec: runner.Spec{Lower: []string{"/c/layers/1", "/c/roots/2"}, Work: "/c/scratch/0", Argv: []string{"sleep", "600"}, Env: []string{"PATH=/bin", "A="},
			Hostname: "rootctl", UserNS: "own", IDs: runner.IDRange{Base: 1879113728, Size: 65536}, Net: "none", Umask: 0o022, KeepWork: true, KeepCopy: true, EtcBelow: true}}
}

func TestPlain(t *testing.T) {
	c := plainOne()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := plain(b); !ok || !reflect.DeepEqual(got, c) {
		t.Errorf("%v\n%+v, want\n%+v", ok, got, c)
	}
	for summary, change := range map[string]func(*Container){
		"a user":         func(c *Container) { c.Spec.User = &runner.Identity{UID: 1} },
		"a limit":        func(c *Container) { c.Spec.Limits.Memory = 1 },
		"no capability":  func(c *Container) { c.Spec.Caps = []string{} },
		"shared":         func(c *Container) { c.Spec.Share = []string{"pid"} },
		"a quote":        func(c *Container) { c.Spec.Argv = []string{`"`} },
		"another letter": func(c *Container) { c.Spec.Argv = []string{"ä"} },
		"it has ended":   func(c *Container) { c.Ended = time.Unix(1, 0) },
		"in groups":      func(c *Container) { c.Cgroups = []string{"/a"} },
		"nested":         func(c *Container) { c.Spec.Nested = true },
	} {
		c := plainOne()
		change(c)
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := plain(b); ok {
			t.Errorf("%s: taken for a plain one", summary)
		}
	}
}

// FuzzPlain: what plain takes encoding/json takes for the same.
func FuzzPlain(f *testing.F) {
	b, err := json.Marshal(plainOne())
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{string(b), `{}`, `{"spec":{"caps":null,"ids":{"base":4294967295}}}`, `{"pid":0,"pid":01}`, `{"created":"2026-11-24T13:33:24+01:00"}`,
		`{"spec":{"argv":[]},"spec":{"argv":["a"]}}`, `{"keep":false}`, `{"pid":999999999999999999}`, `{"id":"a"} `} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ok := plain(b)
		if !ok {
			return
		}
		want := &Container{}
		if err := json.Unmarshal(b, want); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q:\n%+v, want\n%+v", b, got, want)
		}
	})
}
