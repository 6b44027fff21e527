package runner

import (
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Shell prints what a run of the Spec does as lines for a shell, with the programs of util-linux: unshare, mount and
// pivot_root on a fresh overlay copy that is removed at the end. It is one compound command, so that a shell into which
// it is pasted has read all of it before the command inside reads its terminal.
//
// Less than a run: with a user namespace of the caller root, root inside is root outside; no file of the root may be
// a link in a mount's way; capabilities and filters are as the namespaces give them.
func (s Spec) Shell(ordinary bool) (string, error) {
	s = s.withDefaults()
	if len(s.Lower) != 1 || s.Format != nil {
		return "", &SpecError{Problem: "a plan for a shell has one root of this machine's architecture", Fix: "--print-plan without =shell"}
	}
	for _, no := range []struct {
		is         bool
		flag, hint string
	}{
		{s.User != nil, "--user", "setpriv --reuid and --regid inside do it where there is more than one id"},
		{s.Init, "--init", "leave it away: unshare has no reaper"},
		{s.Net == "nat", "--net=nat", "--print-plan without =shell; lines would need a bridge and rules, or pasta"},
		{s.Limits != (Limits{}), "--memory, --cpus and --pids", "leave them away, and begin the lines under systemd-run --scope -p MemoryMax=..."},
	} {
		if no.is {
			return "", &SpecError{Problem: "a shell's lines cannot do " + no.flag, Fix: no.hint}
		}
	}
	s.TTY = false // the shell's own
	p, err := s.Plan()
	if err != nil {
		return "", err
	}
	w := &shellWriter{spec: &s}
	w.line("(")
	w.line("set -eu")
	w.line("# not done here: the filter of system calls, and the dropping of capabilities")
	w.line("# a fresh copy: what is written goes to upper, the cached root is never changed")
	w.line("copy=$(mktemp -d)")
	clean := `rm -rf "$copy"`
	users := w.userFlags(ordinary)
	if ordinary && s.IDs.Size != 1 {
		clean = `unshare --user --map-root-user --map-auto ` + clean
	}
	w.line("trap %s EXIT", quote(clean))
	w.line("mkdir \"$copy/upper\" \"$copy/work\" \"$copy/root\"")
	w.line("chmod 755 \"$copy\" \"$copy/upper\"")
	w.line("export copy")
	inner := shellWriter{spec: &s}
	for _, o := range p {
		inner.op(o)
	}
	end := "INSIDE"
	for strings.Contains(inner.b.String(), end) {
		end += "_"
	}
	w.line("inside=$(cat <<'%s'\nset -eu\n%s%s\n)", end, inner.b.String(), end)
	w.line("# the namespaces: the command is PID 1 of its own")
	w.line("unshare %s%s sh -c \"$inside\" sh %s", users, strings.Join(w.spaces, " "), quoteAll(s.Argv))
	w.line(")")
	return w.b.String(), nil
}

type shellWriter struct {
	spec   *Spec
	spaces []string
	b      strings.Builder
}

func (w *shellWriter) line(format string, a ...any) { fmt.Fprintf(&w.b, format+"\n", a...) }

// userFlags collects the flags of unshare; those for users come first.
func (w *shellWriter) userFlags(ordinary bool) string {
	w.spaces = []string{"--mount", "--cgroup"}
	for _, ns := range []string{"uts", "ipc"} {
		if !w.spec.shares(ns) {
			w.spaces = append(w.spaces, "--"+ns)
		}
	}
	if w.spec.ownNet() {
		w.spaces = append(w.spaces, "--net")
	}
	if !w.spec.shares("pid") {
		w.spaces = append(w.spaces, "--pid", "--fork", "--kill-child")
	}
	switch {
	case !w.spec.ownUsers():
		return ""
	case ordinary && w.spec.IDs.Size != 1:
		return "--user --map-root-user --map-auto "
	}
	return "--user --map-root-user "
}

// op prints an operation of the init or the overlay; what unshare does itself, or a shell cannot do, prints nothing.
func (w *shellWriter) op(o Op) {
	in := quote(strings.TrimPrefix(o.Target, "/"))
	switch o.Verb {
	case VerbOverlay:
		own := ""
		if w.spec.ownUsers() {
			own = ",userxattr"
		}
		w.line(`mount -t overlay -o lowerdir=%s,upperdir="$copy/upper",workdir="$copy/work"%s overlay "$copy/root"`, quote(overlayPath(w.spec.Lower[0])), own)
		w.line(`cd "$copy/root"`)
	case VerbMount:
		w.line("mkdir -p %s; mount -t %s -o %s %s %s", in, o.Type, w.mountOptions(o), o.Type, in)
	case VerbHostSys:
		w.line("mkdir -p %s; mount --rbind %s %s", in, quote(o.Source), in)
	case VerbReadOnly:
		w.line("test ! -e %s || { mount --bind %s %s; mount -o remount,bind,%s %s; }", in, in, in, attrNames(o.Attrs), in)
	case VerbMask:
		if o.Type == "dir" {
			w.line("test ! -d %s || mount -t tmpfs -o ro,mode=555 tmpfs %s", in, in)
		} else {
			w.line("test ! -e %s || mount --bind dev/null %s", in, in)
		}
	case VerbNode:
		w.line("touch %s; mount --bind %s %s", in, quote(o.Source), in)
	case VerbDir:
		w.line("mkdir -m %o %s", o.Mode, in)
	case VerbLink:
		w.line("ln -s %s %s", quote(o.Source), in)
	case VerbLoopback:
		w.line("ip link set lo up")
	case VerbHostname:
		w.line("hostname %s", quote(o.Source))
	case VerbFile:
		w.line("mkdir -p %s; rm -f %s; printf %%s %s >%s", quote(path.Dir(o.Target)[1:]), in, quote(string(o.Data)), in)
	case VerbBind:
		w.bind(o, in)
	case VerbSealRoot:
		w.line(`mount -o remount,bind,ro "$copy/root"`)
	case VerbPivot:
		w.line("# the copy becomes / and the old / goes, which lies on it and is reached by /..; its own umount does it")
		w.line("pivot_root . .")
		w.line("chroot /.. umount -l /")
	case VerbWorkdir:
		w.line("cd %s", quote(o.Target))
	case VerbExec:
		w.line("exec env -i %s \"$@\"", quoteAll(w.spec.Env))
	}
}

func (w *shellWriter) bind(o Op, in string) {
	place := "mkdir -p " + in
	if o.Type == "file" {
		place = fmt.Sprintf("mkdir -p ./%s; touch %s", quote(path.Dir(o.Target)[1:]), in)
	}
	w.line("%s; mount --bind %s %s", place, quote(o.Source), in)
	if w.spec.Binds[o.Index].ReadOnly {
		w.line("mount -o remount,bind,ro %s", in)
	}
}

// mountOptions are those of mount(8). A user namespace of one id has no group 5.
func (w *shellWriter) mountOptions(o Op) string {
	list := []string{attrNames(o.Attrs &^ unix.MOUNT_ATTR_IDMAP)}
	for _, option := range o.Options {
		if option != "gid=5" || !w.spec.ownUsers() {
			list = append(list, option)
		}
	}
	return strings.Join(list, ",")
}

// overlayPath escapes what separates layers and options.
func overlayPath(p string) string {
	return strings.NewReplacer(`\`, `\\`, ":", `\:`, ",", `\,`).Replace(p)
}

// quote makes one word of a shell of any string.
func quote(s string) string {
	plain := s != ""
	for _, r := range s {
		plain = plain && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:=@,", r))
	}
	if plain {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func quoteAll(words []string) string {
	q := make([]string, len(words))
	for i, v := range words {
		q[i] = quote(v)
	}
	return strings.Join(q, " ")
}
