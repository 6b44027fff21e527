package reference

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
	"github.com/rootctl/rootctl/suites"
)

func get(t *testing.T, url string) (int, []byte) {
	t.Helper()
	resp, err := http.Get(url) //nolint:gosec,noctx // loopback
	if err != nil {
		t.Error(err)
		return 0, nil
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return resp.StatusCode, b
}

func serve(t *testing.T, m *Mirror) string {
	t.Helper()
	url, stop, err := m.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return url
}

func TestMirrorFreezesWhatItFetched(t *testing.T) {
	a := testarchive.New("bionic").Add(testarchive.Package{Name: "hello"})
	up := a.Serve(t)
	dir := t.TempDir()
	url := serve(t, &Mirror{Dir: dir, Upstreams: map[string][]string{"ubuntu": {up.URL}}})
	rel := "dists/bionic/InRelease"
	first := a.Files()[rel]
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if status, b := get(t, url+"/ubuntu/"+rel); status != 200 || !bytes.Equal(b, first) {
				t.Errorf("InRelease: %d, %d bytes of %d", status, len(b), len(first))
			}
		})
	}
	wg.Wait()
	if n := up.Count("InRelease"); n != 1 {
		t.Errorf("upstream was asked %d times", n)
	}
	a.Date = a.Date.AddDate(0, 0, 1)
	up.Set(a)
	if _, b := get(t, url+"/ubuntu/"+rel); !bytes.Equal(b, first) {
		t.Error("InRelease is not frozen")
	}
	off := serve(t, &Mirror{Dir: dir, Offline: true, Upstreams: map[string][]string{"ubuntu": {up.URL}}})
	if _, b := get(t, off+"/ubuntu/"+rel); !bytes.Equal(b, first) {
		t.Error("offline: InRelease is not there")
	}
	up.Reset()
	if status, _ := get(t, off+"/ubuntu/pool/main/h/hello/hello_1.0_amd64.deb"); status != 404 || len(up.Requests()) > 0 {
		t.Errorf("offline: %d, upstream saw %v", status, up.Requests())
	}
	m := &Mirror{Dir: dir, Upstreams: map[string][]string{"ubuntu": {up.URL}}}
	if err := m.Forget("bionic"); err != nil {
		t.Fatal(err)
	}
	if _, b := get(t, serve(t, m)+"/ubuntu/"+rel); bytes.Equal(b, first) {
		t.Error("forgotten, but still the old InRelease")
	}
}

func TestMirrorKeepsNothingBroken(t *testing.T) {
	a := testarchive.New("bionic")
	a.Overlay = map[string][]byte{"f": []byte("0123456789")}
	up := a.Serve(t)
	dir := t.TempDir()
	url := serve(t, &Mirror{Dir: dir, Upstreams: map[string][]string{"ubuntu": {up.URL}}})
	up.Fault(testarchive.Fault{Path: "f", Truncate: 4, Times: attempts})
	if status, _ := get(t, url+"/ubuntu/f"); status != 502 {
		t.Errorf("cut short: status %d", status)
	}
	left, err := filepath.Glob(filepath.Join(dir, "ubuntu", "*"))
	hidden, err2 := filepath.Glob(filepath.Join(dir, "ubuntu", ".*"))
	if err != nil || err2 != nil || len(left)+len(hidden) > 0 {
		t.Errorf("left behind: %v %v", left, hidden)
	}
	if status, b := get(t, url+"/ubuntu/f"); status != 200 || string(b) != "0123456789" {
		t.Errorf("then: %d %q", status, b)
	}
	for _, p := range []string{"/ubuntu/absent", "/ubuntu", "/other/f", "/../../etc/passwd", "/ubuntu/../../etc/passwd"} {
		if status, _ := get(t, url+p); status != 404 {
			t.Errorf("%s: %d", p, status)
		}
	}
}

func TestMirrorTriesUpstreamsInOrder(t *testing.T) {
	a, b := testarchive.New("x"), testarchive.New("x")
	b.Overlay = map[string][]byte{"only-b": []byte("b")}
	ua, ub := a.Serve(t), b.Serve(t)
	url := serve(t, &Mirror{Dir: t.TempDir(), Upstreams: map[string][]string{"debian": {ua.URL, ub.URL}}})
	if status, body := get(t, url+"/debian/only-b"); status != 200 || string(body) != "b" {
		t.Errorf("%d %q", status, body)
	}
	for range 2 {
		if status, _ := get(t, url+"/debian/nowhere"); status != 404 {
			t.Errorf("nowhere: %d", status)
		}
	}
	if n := ua.Count("nowhere"); n != 1 {
		t.Errorf("an absent file was asked for %d times", n)
	}
}

func TestUpstreams(t *testing.T) {
	set, err := suites.Load()
	if err != nil {
		t.Fatal(err)
	}
	apt := filepath.Join(t.TempDir(), "sources.list")
	text := "deb [arch=amd64] http://near.example/debian/ bookworm main\ndeb https://elsewhere.example/vendor x y\n"
	if err := os.WriteFile(apt, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	up := Upstreams(set, "amd64", apt, "/nonexistent")
	if len(up["debian"]) < 2 || up["debian"][0] != "http://near.example/debian" {
		t.Errorf("debian: %v", up["debian"])
	}
	if len(up["ubuntu"]) == 0 || len(up["debian-security"]) == 0 {
		t.Errorf("no upstream for ubuntu or debian-security: %v", up)
	}
	if _, ok := up["vendor"]; ok {
		t.Error("a folder that no suite uses")
	}
}
