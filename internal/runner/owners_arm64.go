package runner

import "golang.org/x/sys/unix"

const (
	// Calls that this machine never had: numbers that none has.
	sysChown, sysLchown = 1<<30 + iota, 1<<30 + 8 + iota
	sysStat, sysLstat
	sysFstatat = unix.SYS_FSTATAT
	// uidInStat is the offset of st_uid in struct stat; st_gid follows.
	uidInStat = 24
)
