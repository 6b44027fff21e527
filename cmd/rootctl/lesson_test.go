package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// lesson runs the lines of a page of docs that begin with a dollar by bash, on a host with a network of its own, and
// compares what they print. ROOT stands in for bionic, which only the real archive's keys sign: lesson PAGE ROOT
func lesson(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: lesson PAGE ROOT")
	}
	b, err := os.ReadFile("../../docs/" + args[0])
	ts.Check(err)
	page := strings.ReplaceAll(string(b), "bionic", args[1])
	ns, err := lessonNetwork()
	ts.Check(err)
	defer ns.Close()
	host := fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), ns)
	ran, command, want := 0, "", ""
	end := func() {
		if command == "" {
			return
		}
		ts.Check(ts.Exec("timeout", "30", "nsenter", host, "bash", "-c", command))
		if got := ts.ReadFile("stdout"); !printedAs(got, want) {
			ts.Fatalf("%s: line %q prints %q, want %q", args[0], command, got, want)
		}
		ran, command, want = ran+1, "", ""
	}
	for line := range strings.Lines(page) {
		text, block := strings.CutPrefix(line, "    ")
		next, isCommand := strings.CutPrefix(text, "$ ")
		if isCommand || !block {
			end()
		}
		switch {
		case block && isCommand:
			command = strings.TrimSpace(next)
		case block && command != "":
			want += text
		}
	}
	end()
	if ran < 5 {
		ts.Fatalf("%s: %d lines were run", args[0], ran)
	}
}

// printedAs compares by lines and words. "..." in want is anything in its line.
func printedAs(got, want string) bool {
	lines, pattern := strings.Split(got, "\n"), strings.Split(want, "\n")
	if len(lines) != len(pattern) {
		return false
	}
	for i, p := range pattern {
		words := strings.Fields(p)
		for j, w := range words {
			words[j] = strings.ReplaceAll(regexp.QuoteMeta(w), `\.\.\.`, `.+`)
		}
		if !regexp.MustCompile(`^` + strings.Join(words, " ") + `$`).MatchString(strings.Join(strings.Fields(lines[i]), " ")) {
			return false
		}
	}
	return true
}

// lessonNetwork is a host's network: lo, and an address beside.
func lessonNetwork() (netns.NsHandle, error) {
	type made struct {
		ns  netns.NsHandle
		err error
	}
	ch := make(chan made)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		ns, err := netns.New()
		if err == nil {
			lan := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "lan0"}, PeerName: "lan1"}
			err = errors.Join(address("lo", "127.0.0.2/8"), netlink.LinkAdd(lan), address("lan0", natHost+"/24"))
		}
		ch <- made{ns, err}
	}()
	m := <-ch
	return m.ns, m.err
}

// lessonMirror serves an archive with some more of what a minbase has. It is made when it is asked.
func lessonMirror(t *testing.T, archive *testarchive.Archive) string {
	t.Helper()
	handler := sync.OnceValue(func() http.Handler {
		more := *archive
		more.Add(lessonTools(t, archive.Packages()))
		return more.Handler()
	})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler().ServeHTTP(w, r) }))
	t.Cleanup(s.Close)
	return s.URL
}

// lessonTools packs what the lesson calls and the host has: perl-base and mount. What the packages of have bring is left out.
func lessonTools(t *testing.T, have []testarchive.Package) testarchive.Package {
	t.Helper()
	p := testarchive.Package{Name: "perl-base", Arch: testarchive.HostArch(t), Compression: "none", Fields: map[string]string{"Priority": "required", "Section": "perl"}}
	there := map[string]bool{}
	for _, h := range have {
		for _, f := range h.Files {
			there[filepath.Base(f.Name)] = true
		}
	}
	add := func(from, to string, mode int64) {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		p.Files = append(p.Files, testarchive.File{Name: to, Body: string(b), Mode: mode})
		there[filepath.Base(to)] = true
	}
	for _, program := range []string{"perl", "mount"} {
		add("/usr/bin/"+program, "usr/bin/"+program, 0o755)
		libs, err := exec.Command("ldd", "/usr/bin/"+program).Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`=> (/\S+)`).FindAllStringSubmatch(string(libs), -1) {
			if !there[filepath.Base(m[1])] {
				add(m[1], strings.TrimPrefix(strings.TrimPrefix(m[1], "/"), "usr/"), 0o755)
			}
		}
	}
	dirs, _ := filepath.Glob("/usr/lib/*/perl-base")
	if len(dirs) != 1 {
		t.Skipf("needs perl-base: %q", dirs)
	}
	err := filepath.WalkDir(dirs[0], func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && (strings.Contains(path, "/auto/") || strings.HasSuffix(path, ".pm")) {
			add(path, path[1:], 0o644)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
