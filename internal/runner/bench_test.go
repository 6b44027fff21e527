package runner

import (
	"context"
	"os"
	"testing"
)

// BenchmarkRun is a whole run of true in a copy, keeper included, without the start of the host process.
func BenchmarkRun(b *testing.B) {
	for _, c := range []struct {
		name    string
		disk    bool
		seccomp string
		opts    Options
	}{{name: "memory"}, {name: "memory, no filter", seccomp: "none"}, {name: "disk", disk: true}, {name: "by path", opts: Options{pathOverlay: true}}} {
		b.Run(c.name, func(b *testing.B) {
			s := Spec{Lower: []string{sharedRoot(b)}, Argv: []string{"/bin/true"}, Seccomp: c.seccomp}
			ids, f, err := ClaimIDs(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			s.IDs = ids
			dir := b.TempDir()
			for b.Loop() {
				if c.disk {
					s.Work = dir + "/work"
					if err := os.Mkdir(s.Work, 0o700); err != nil {
						b.Fatal(err)
					}
					c.opts.Keep = &Keep{Remove: []string{s.Work}}
				}
				if st, err := Run(context.Background(), s, c.opts); err != nil || st.Code != 0 {
					b.Fatal(st, err)
				}
			}
		})
	}
}

// BenchmarkExec is a whole exec of true in a running container, keeper included, without the start of the process.
func BenchmarkExec(b *testing.B) {
	c := startContainer(b, shell(b, idle))
	for b.Loop() {
		if st, err := Exec(context.Background(), c.Target, Command{Argv: []string{"/bin/true"}}, Options{}); err != nil || st.Code != 0 {
			b.Fatal(st, err)
		}
	}
}
