package reference

import (
	"os"
	"syscall"
)

// maxRSS is the peak memory in kilobytes of a process that has ended, its waited-for children aside.
func maxRSS(p *os.ProcessState) int64 {
	if u, ok := p.SysUsage().(*syscall.Rusage); ok {
		return u.Maxrss
	}
	return 0
}
