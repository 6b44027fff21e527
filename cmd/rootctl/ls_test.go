package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestLsJSON: a root with two names, one of them while it is used, and one that nobody has named.
func TestLsJSON(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	f := newFixture(t)
	dir := filepath.Join(t.TempDir(), "cache")
	digest := f.build(t, dir)
	untagged := slices.DeleteFunc(slices.Clone(f.args), func(a string) bool { return a == "--tag" || a == "fixture" })
	for _, args := range [][]string{{"tag", "fixture", "second"}, append(untagged, "--include", "hello")} {
		if out, err := f.command(dir, args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	list := func() (rows []lsRow) {
		t.Helper()
		out, err := f.command(dir, "ls", "--json").Output()
		if err == nil {
			err = json.Unmarshal(out, &rows)
		}
		if err != nil {
			t.Fatal(err)
		}
		var again bytes.Buffer
		e := json.NewEncoder(&again)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(rows); err != nil || again.String() != string(out) {
			t.Errorf("not as the encoder sets it: %v\n%s\n%s", err, out, &again)
		}
		return rows
	}
	rows := list()
	if len(rows) != 3 || rows[0].Name != "fixture" || rows[1].Name != "second" || rows[2].Name != "" {
		t.Fatalf("rows %+v", rows)
	}
	for _, r := range rows[:2] {
		if r.Digest != "sha256:"+digest || !slices.Equal(r.Names, []string{"fixture", "second"}) || !slices.Equal(r.Tags, r.Names) {
			t.Errorf("row %+v", r)
		}
	}
	if r := rows[2]; r.Digest == rows[0].Digest || r.Names == nil || len(r.Names)+len(r.Tags) != 0 {
		t.Errorf("row without a name: %+v", r)
	}
	for _, r := range rows {
		if len(r.Key) != 64 || r.Size <= 0 || r.DiskSize < r.Size || r.InUse || r.Unverified || r.Imported || time.Since(r.Used) > 2*time.Hour {
			t.Errorf("row %+v", r)
		}
	}
	c := f.command(dir, "run", "-q", "fixture", "sh", "-c", "echo ready; read x")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	limit := time.AfterFunc(20*time.Second, func() { c.Process.Kill() })
	defer limit.Stop()
	b := make([]byte, 16)
	if n, _ := out.Read(b); string(b[:n]) != "ready\n" {
		t.Errorf("got %q", b[:n])
	}
	if rows := list(); !rows[0].InUse || !rows[1].InUse || rows[2].InUse {
		t.Errorf("in use: %v %v %v", rows[0].InUse, rows[1].InUse, rows[2].InUse)
	}
	if text, err := f.command(dir, "ls").Output(); err != nil || strings.Count(string(text), "in use\n") != 2 {
		t.Errorf("ls: %v\n%s", err, text)
	}
	in.Close()
	_ = c.Wait() // read of the end of input makes it fail
}
