package reference

import (
	"os"
	"syscall"
)

// maxRSS is the peak memory in kilobytes of a process that has ended, or of the largest of the
// children it waited for, when that is more: the kernel keeps one number for both.
func maxRSS(p *os.ProcessState) int64 {
	if u, ok := p.SysUsage().(*syscall.Rusage); ok {
		return u.Maxrss
	}
	return 0
}
