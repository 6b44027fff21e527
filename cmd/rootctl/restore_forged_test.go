package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/cache/parcel"
)

// A parcelText is a parcel that can be changed.
type parcelText struct {
	parcel.Index
	data map[cache.Digest][]byte
}

func readParcel(t *testing.T, file string) *parcelText {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := parcel.Read(context.Background(), f)
	if err != nil {
		t.Fatal(err)
	}
	p := &parcelText{r.Index, map[cache.Digest][]byte{}}
	err = r.Each(func(root parcel.Root, in io.Reader) (err error) {
		p.data[root.Digest], err = io.ReadAll(in)
		return err
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *parcelText) write(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "forged")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = parcel.Write(context.Background(), f, &p.Index, func(d cache.Digest) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(p.data[d])), nil })
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// record is that of a kind.
func (p *parcelText) record(t *testing.T, kind string) parcel.Record {
	t.Helper()
	i := slices.IndexFunc(p.Records, func(r parcel.Record) bool {
		return strings.Contains(r.Text, `"kind":"`+kind+`"`) && r.Folder == "actions"
	})
	if i < 0 {
		t.Fatalf("no record of kind %s", kind)
	}
	return p.Records[i]
}

// TestRestoreForged: what a file says of its roots beside their records changes nothing, and a request leads to no root but
// one that a build of it gave.
func TestRestoreForged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	f, dir, work := newFixture(t), filepath.Join(t.TempDir(), "cache"), t.TempDir()
	f.build(t, dir)
	must := func(dir string, args ...string) string {
		t.Helper()
		out, err := f.command(dir, args...).Output()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, err.(*exec.ExitError).Stderr)
		}
		return string(out)
	}
	built, alien := filepath.Join(work, "built"), filepath.Join(work, "alien")
	must(dir, "cache", "save", built, "fixture")
	other := filepath.Join(work, "other")
	must(dir, "export", "fixture", "-o", filepath.Join(work, "root.tar"))
	must(other, "import", filepath.Join(work, "root.tar"), "--tag", "alien")
	must(other, "cache", "save", alien, "alien")
	refused := func(what string, p *parcelText) {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "cache")
		c := f.command(dir, "cache", "restore", p.write(t))
		out, _ := c.CombinedOutput()
		if code := c.ProcessState.ExitCode(); code != 3 {
			t.Errorf("%s: exit code %d\n%s", what, code, out)
		}
		if list, err := os.ReadDir(filepath.Join(dir, "actions")); err == nil && len(list) > 0 {
			t.Errorf("%s: %v was kept", what, list)
		}
	}

	p, q := readParcel(t, alien), readParcel(t, built)
	var request map[string]any
	r := q.record(t, "request")
	if err := json.Unmarshal([]byte(r.Text), &request); err != nil {
		t.Fatal(err)
	}
	request["root"], request["key"] = p.Roots[0].Digest, p.record(t, "import").Name
	text, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	p.Records = append(p.Records, slices.DeleteFunc(slices.Clone(q.Records), func(r parcel.Record) bool { return r.Folder != "inputs" })...)
	p.Records = append(p.Records, parcel.Record{Folder: "actions", Name: r.Name, Text: string(text)})
	refused("an imported root as a request's", p)

	q.Records = slices.DeleteFunc(q.Records, func(in parcel.Record) bool { return in.Folder == "inputs" && in.Name == r.Name })
	refused("a request that nobody can read", q)

	p = readParcel(t, alien)
	for _, info := range []string{`"x"`, `null`, `{"suite":"bionic","variant":"minbase","packages":1}`} {
		p.Names[0].Info = json.RawMessage(info)
		dir := filepath.Join(t.TempDir(), "cache")
		must(dir, "cache", "restore", p.write(t))
		if list, same := must(dir, "ls", "--json"), must(other, "ls", "--json"); field(t, list, "imported") != field(t, same, "imported") || field(t, same, "imported") == "null" {
			t.Errorf("%s: %s\nnot %s", info, list, same)
		}
		must(dir, "show", "alien")
	}
}

// field is that of the first object of a list.
func field(t *testing.T, list, name string) string {
	t.Helper()
	var l []map[string]any
	if err := json.Unmarshal([]byte(list), &l); err != nil || len(l) == 0 {
		t.Fatalf("%v: %s", err, list)
	}
	b, err := json.Marshal(l[0][name])
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
