// Command foreign is built for another architecture and run by an emulator in a container.
package main

import (
	"os"
	"runtime"
	"strings"
	"syscall"
)

func main() {
	for _, arg := range os.Args[1:] {
		switch arg {
		case "arch":
			say(runtime.GOARCH)
		case "name": // argv[0] as it was given
			say(os.Args[0])
		case "exec": // the registration serves every program, not only the first
			pid, err := syscall.ForkExec("/bin/foreign", []string{"zero", "name"}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
			check(err)
			var ws syscall.WaitStatus
			_, err = syscall.Wait4(pid, &ws, 0, nil)
			check(err)
		case "fsync":
			if err := syscall.Fsync(999); err != nil {
				say("refused")
			} else {
				say("suppressed")
			}
		case "mounts":
			b, err := os.ReadFile("/proc/self/mountinfo")
			check(err)
			say(string(b))
		case "register": // whatever is to be seen of binfmt_misc must be empty
			names, err := os.ReadDir("/proc/sys/fs/binfmt_misc")
			check(err)
			for _, n := range names {
				say(n.Name())
			}
		}
	}
}

func say(s string) { os.Stdout.WriteString(strings.TrimSuffix(s, "\n") + "\n") }

func check(err error) {
	if err != nil {
		say(err.Error())
		os.Exit(1)
	}
}
