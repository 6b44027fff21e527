package runner

import "golang.org/x/sys/unix"

const (
	sysChown, sysLchown = unix.SYS_CHOWN, unix.SYS_LCHOWN
	sysStat, sysLstat   = unix.SYS_STAT, unix.SYS_LSTAT
	sysFstatat          = unix.SYS_NEWFSTATAT
	// uidInStat is the offset of st_uid in struct stat; st_gid follows.
	uidInStat = 28
)
