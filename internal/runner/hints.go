package runner

// Next steps that failures of run and build have in common with what rootctl doctor finds.
const (
	idmapHint    = "ids cannot be mapped on the cache's file system: each run copies the whole root; a cache on ext4, xfs, btrfs or tmpfs avoids that"
	overlayHint  = "the file systems of root and copy do not work under overlay; try a cache on ext4, xfs, btrfs or tmpfs"
	maskedHint   = "none needed: the outer one stands in, which shows the processes outside; to have it fresh start the outer container with nothing hidden (docker run --security-opt systempaths=unconfined)"
	tooOldHint   = "this kernel is too old, or a filter (as of an outer container) hides the call; Linux 5.12 or newer is needed"
	apparmorHint = "AppArmor forbids user namespaces to ordinary users: sudo rootctl doctor --fix gives rootctl a profile; or sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0, or run rootctl with sudo"
)
