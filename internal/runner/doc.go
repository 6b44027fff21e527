// Package runner runs one command in a container: in a fresh copy of a cached root, or in a directory used in place.
//
// A Spec says what is wanted. Spec.Plan turns it into a list of named operations that can be read and compared. The
// container's part of the plan is lowered to a table of raw system calls before anything is forked; a forked child
// interprets that table and ends in execve. Between fork and exec no Go code runs but the interpreter, so the child is
// single-threaded, allocates nothing and starts no second Go runtime.
//
//	host process                            container's init (PID 1)              keeper
//	------------                            ------------------------              ------
//	plan, lower to a table; take the binds
//	clone(user, mnt, pid) ---------------> die with the parent, undumpable
//	write uid_map, gid_map --------------> become root inside
//	fork keeper ------------- unshare(net, uts, ipc, cgroup) ---------------->    close all but locks and socket
//	pidfd -------------------------------------------------------------------->   wait: message or end of file
//	make the root mount
//	send their descriptors --------------> take them; attach the root
//	                                       proc, sys, dev, tmp, binds
//	take the terminal <------------------- open the terminal, send its master
//	set its size, answer ----------------> pivot_root, let the old root go
//	record it, take over signals --------> wait
//	                                       capabilities, filters, execve
//	read {step, errno} or end of file <--- (the error pipe closes on exec)
//	wait; forward signals
//	remove the copy, say goodbye ------------------------------------------->     exit
//
// Whatever kills the host process, the keeper sees its socket close, kills the init through the pidfd, removes the
// copy and only then lets the locks go.
//
// An ordinary user's host process is a second one of the same program, root of a user namespace (Enter). With a single
// id there, changes of owners are faked, or kept by the host process (Owners).
//
// Everything is done by descriptor. Names that the container's root decides are resolved by openat2 inside that root
// and never through links, so a hostile root can make a run fail but cannot make it touch anything outside.
package runner
