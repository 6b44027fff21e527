package main

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// ghRelease serves the program as a release has it, and gives the url and the checksum.
func (w *jobWorld) ghRelease(t *testing.T) (url, sum string) {
	t.Helper()
	program, err := os.ReadFile(filepath.Join(w.bin, "rootctl"))
	if err != nil {
		t.Fatal(err)
	}
	name := "rootctl-linux-" + runtime.GOARCH
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/download/v1.2/" + name:
			http.Redirect(rw, r, "/assets/1", http.StatusFound)
		case "/assets/1":
			_, _ = rw.Write(program)
		case "/download/v1.3/" + name: // cut
			rw.Header().Set("Content-Length", strconv.Itoa(len(program)))
			_, _ = rw.Write(program[:len(program)/2])
		default:
			http.NotFound(rw, r)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL + "/download", fmt.Sprintf("%x", sha256.Sum256(program))
}

// with gives the job with further inputs of the action.
func (j ghJob) with(inputs map[string]string) ghJob {
	j.Steps = slices.Clone(j.Steps)
	for i, s := range j.Steps {
		if strings.HasPrefix(s.Uses, "rootctl/") {
			with := map[string]string{}
			maps.Copy(with, s.With)
			maps.Copy(with, inputs)
			j.Steps[i].With = with
		}
	}
	return j
}

// sudoers lets a user do all as Ubuntu's does, with a PATH of its own, in a mount namespace where the machine's own file is
// left alone; it gives the words that run a command there.
func sudoers(t *testing.T, name string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sudoers")
	text := "Defaults env_reset\nDefaults use_pty\nDefaults secure_path=\"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\"\n" + name + " ALL=(ALL) NOPASSWD:ALL\n"
	if err := os.WriteFile(file, []byte(text), 0o440); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", `mount --bind "$0" /etc/sudoers && echo there && exec sleep 1000`, file)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err := errors.Join(err, c.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	return []string{"/usr/bin/nsenter", fmt.Sprintf("--mount=/proc/%d/ns/mnt", c.Process.Pid)}
}

// ofUser has an ordinary user own the runner's files, and gives the words that make a command theirs.
func (w *jobWorld) ofUser(t *testing.T) []string {
	t.Helper()
	u, err := user.Lookup(testUser)
	if err != nil {
		t.Skipf("needs user %s with ranges in /etc/subuid and /etc/subgid: make tools-for-tests", testUser)
	}
	w.uid, _ = strconv.Atoi(u.Uid)
	w.gid, _ = strconv.Atoi(u.Gid)
	return []string{"/usr/bin/setpriv", "--reuid=" + u.Uid, "--regid=" + u.Gid, "--init-groups", "--inh-caps=-all", "--"}
}

// TestGitHubUsers runs the job as an ordinary user's, with the program fetched from a release: with namespaces of the user's
// own, where the runner's end of the job is all that ends the copy of the steps, and with sudo.
func TestGitHubUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	w := newJobWorld(t)
	setpriv := w.ofUser(t)
	url, sum := w.ghRelease(t)
	job := w.githubJob(t, "bionic")
	end := len(job.Steps) - 1
	if job.Steps[end].Run != "rootctl ci end" {
		t.Fatalf("%+v", job.Steps)
	}
	job.Steps = append(slices.Clone(job.Steps[:end]), ghStep{Shell: "rootctl-shell bionic {0}", Run: "echo one >/of-the-copy; id -u"},
		ghStep{Run: "grep -q one /of-the-copy; echo still there"}, job.Steps[end])
	for _, c := range []struct {
		sudo string
		as   []string
		id   int // who has the cache
	}{
		{"false", setpriv, w.uid},
		{"true", append(sudoers(t, testUser), setpriv...), 0},
	} {
		w.id = c.id
		job := job.with(map[string]string{"version": "1.2", "sha256": strings.ToUpper(sum), "url": url, "sudo": c.sudo})
		if c.sudo == "false" {
			job.Steps = job.Steps[:len(job.Steps)-1]
		}
		cache := newGHCache(t)
		for _, how := range []string{"built", "cached"} {
			t.Run("sudo "+c.sudo+", "+how, func(t *testing.T) {
				r := w.runner(t, cache, "push")
				env := maps.Clone(r.env)
				r.as, r.path = c.as, r.path[1:]
				outputs, err := r.job(job, map[string]string{"root": "bionic"})
				if err != nil || r.failed {
					t.Fatalf("%v\n%s", err, &r.log)
				}
				out := outputs["__1"]
				if !strings.Contains(string(r.summary), "| bionic | "+how+" | "+out["digest"]) || !strings.HasSuffix(string(r.summary), "checked by the job\n") || r.env["CHECKED"] != "yes" {
					t.Errorf("%s\n%q\n%s", r.summary, r.env, &r.log)
				}
				if log := r.log.String(); !strings.Contains(log, "\n0\n") || !strings.Contains(log, "\nstill there\n") {
					t.Errorf("%s", log)
				}
				w.checkEnded(t, env)
				checkOwner(t, filepath.Join(r.workspace, "made"), w.uid)
				checkOwner(t, env["ROOTCTL_CACHE"], c.id)
				if n, _ := cache.count(); n != 1 {
					t.Errorf("%d entries in the cache", n)
				}
			})
		}
	}
}

func checkOwner(t *testing.T, file string, uid int) {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(file, &st); err != nil || int(st.Uid) != uid {
		t.Errorf("%s: %v; it belongs to %d, want %d", file, err, st.Uid, uid)
	}
}

// TestGitHubInstall: what is not the program that was asked for is not installed, and nothing of it is left.
func TestGitHubInstall(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	w := newJobWorld(t)
	url, sum := w.ghRelease(t)
	job := w.githubJob(t, "bionic")
	other := strings.Map(func(c rune) rune { return rune("0123456789abcdef"[15-strings.IndexRune("0123456789abcdef", c)]) }, sum)
	for _, c := range []struct{ summary, version, sum, want string }{
		{"another checksum", "1.2", other, "not installed"},
		{"no checksum", "1.2", "", "version without sha256"},
		{"half a checksum", "1.2", sum[:32], "not installed"},
		{"two checksums", "1.2", sum + "\n" + other, "not installed"},
		{"no such version", "1.4", sum, "404"},
		{"cut", "1.3", sum, "curl: "},
		{"none, and none on PATH", "", "", "it is not on PATH"},
	} {
		t.Run(c.summary, func(t *testing.T) {
			cache := newGHCache(t)
			r := w.runner(t, cache, "push")
			r.path = r.path[1:]
			_, err := r.job(job.with(map[string]string{"version": c.version, "sha256": c.sum, "url": url}), map[string]string{"root": "bionic"})
			if err != nil || !r.failed || !strings.Contains(r.log.String(), c.want) {
				t.Errorf("failed: %v, %v\n%s", r.failed, err, &r.log)
			}
			var left []string
			err = filepath.WalkDir(filepath.Join(r.temp, "rootctl-bin"), func(path string, d fs.DirEntry, err error) error {
				if err == nil && !d.IsDir() {
					left = append(left, path)
				}
				return err
			})
			_, tries := cache.count()
			if _, e := os.Stat(r.env["ROOTCTL_CACHE"]); err != nil || !errors.Is(e, fs.ErrNotExist) || len(left) > 0 || tries > 0 {
				t.Errorf("left behind: %v, %v; a cache: %v; %d tries to save", left, err, e, tries)
			}
			if len(r.path) != 4 {
				t.Errorf("PATH is %v", r.path)
			}
		})
	}
}
