package nat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// UserMode is a network through a program of the user's: pasta, or slirp4netns. No right over the host's network is needed.
//
// The program is the child of a warden, which is this program again (WardenMain): it ends the program when nobody holds
// Lifeline any more, and the program ends when the warden does.
type UserMode struct {
	// Lifeline is to be held by whoever may have to outlive this process, never by the container.
	Lifeline *os.File
	// Root says that this process is the host's root.
	Root bool

	program string
	slirp   bool
	theirs  *os.File
	warden  *exec.Cmd
	said    *os.File // by the program
	ended   chan error
}

// WardenName is argv[0] of the warden.
const WardenName = "rootctl-warden"

// wardenPlace is where the warden, in mounts of its own, shows the program the container's namespaces.
const wardenPlace = "/mnt"

// startLimit is how long a program may take to connect a container.
const startLimit = 10 * time.Second

// FindUserMode looks for pasta, else slirp4netns, in the folders of path.
func FindUserMode(path []string) (*UserMode, error) {
	program, err := UserProgram(path)
	if err != nil {
		return nil, err
	}
	if err := CheckTun(program); err != nil {
		return nil, err
	}
	u := &UserMode{program: program, slirp: filepath.Base(program) == slirpName}
	if u.theirs, u.Lifeline, err = os.Pipe(); err != nil {
		return nil, fmt.Errorf("prepare the network: %w", err)
	}
	return u, nil
}

const slirpName = "slirp4netns"

// UserProgram is the path of the program that FindUserMode takes.
func UserProgram(path []string) (string, error) {
	for _, name := range []string{"pasta", slirpName} {
		for _, dir := range path {
			if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil && filepath.IsAbs(p) {
				return p, nil
			}
		}
	}
	return "", &Error{Problem: "this network needs pasta or slirp4netns, and neither is in PATH", Fix: "sudo apt-get install passt, or slirp4netns; or --net=host"}
}

// CheckTun looks whether a program may make the network's device.
func CheckTun(program string) error {
	tun, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		fix := "sudo chmod 0666 /dev/net/tun, or --net=host"
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
			fix = "sudo modprobe tun (in a container of Docker: docker run --device /dev/net/tun), or --net=host"
		}
		return &Error{Problem: "open /dev/net/tun, which " + filepath.Base(program) + " needs", Err: err, Fix: fix}
	}
	return unix.Close(tun)
}

// ResolvConf names the program's own server, which asks the host's.
func (u *UserMode) ResolvConf() []byte {
	if u.slirp {
		return []byte("nameserver 10.0.2.3\n")
	}
	return []byte("nameserver " + pastaDNS + "\n")
}

// Program is the name of the program.
func (u *UserMode) Program() string { return filepath.Base(u.program) }

const pastaDNS = "169.254.1.1"

// command is the program's command line for a container. slirp4netns gets its ports later.
func (u *UserMode) command(ownUsers bool, ports []Port, api string) []string {
	user, netns := wardenPlace+"/user", wardenPlace+"/net"
	if u.slirp {
		args := []string{u.program, "--configure", "--mtu=65520", "--disable-host-loopback", "--netns-type=path"}
		if ownUsers {
			args = append(args, "--userns-path="+user)
		}
		if api != "" {
			args = append(args, "--api-socket="+api)
		}
		return append(args, netns, "eth0")
	}
	args := []string{u.program, "--foreground", "--quiet", "--config-net", "--ns-ifname", "eth0", "--no-map-gw", "--dns-forward", pastaDNS,
		"--tcp-ns", "none", "--udp-ns", "none"}
	for _, proto := range []string{"tcp", "udp"} {
		none := true
		for _, p := range ports {
			if p.Proto == proto {
				args = append(args, "--"+proto+"-ports", fmt.Sprintf("%s/%d:%d", p.IP, p.Host, p.Inner))
				none = false
			}
		}
		if none {
			args = append(args, "--"+proto+"-ports", "none")
		}
	}
	if u.Root { // else it would become a user that may not enter the namespaces
		args = append(args, "--runas", "0:0")
	}
	if !ownUsers {
		return append(args, "--netns-only", "--netns", netns)
	}
	return append(args, "--userns", user, "--netns", netns)
}

// Connect starts the program for the container whose init is pid, with a network namespace, and waits until the container
// has a way out.
func (u *UserMode) Connect(pid, netns int, ports []Port) error {
	api, err := u.apiSocket(ports)
	if err != nil {
		return err
	}
	if api != "" {
		defer os.RemoveAll(filepath.Dir(api))
	}
	if err := u.start(pid, u.command(ownUsers(pid), ports, api)); err != nil {
		return err
	}
	limit := time.Now().Add(startLimit)
	for !hasRoute(pid) {
		select {
		case err := <-u.ended:
			u.ended <- err
			return u.failed("connect the container", err)
		case <-time.After(time.Millisecond):
		}
		if time.Now().After(limit) {
			return u.failed("connect the container", fmt.Errorf("nothing within %v", startLimit))
		}
	}
	if !u.slirp {
		if len(ports) > 0 {
			_ = greet(netns) // without it only the first connection may suffer
		}
		return nil
	}
	for _, p := range ports {
		err := addForward(api, p)
		for errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) { // it listens a moment later
			if time.Now().After(limit) {
				break
			}
			time.Sleep(time.Millisecond)
			err = addForward(api, p)
		}
		if err != nil {
			return u.failed(fmt.Sprintf("publish %s", p), err)
		}
	}
	return nil
}

func (u *UserMode) apiSocket(ports []Port) (string, error) {
	if !u.slirp || len(ports) == 0 {
		return "", nil
	}
	dir, err := os.MkdirTemp("", "rootctl-slirp-")
	if err != nil {
		return "", fmt.Errorf("prepare the network: %w", err)
	}
	return filepath.Join(dir, "api"), nil
}

// start starts the warden, away from the terminal's signals.
func (u *UserMode) start(pid int, argv []string) error {
	files := []*os.File{u.theirs}
	for _, kind := range []string{"user", "net"} {
		f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/" + kind)
		if err != nil {
			return fmt.Errorf("start the network: %w", err)
		}
		defer f.Close()
		files = append(files, f)
	}
	fd, err := unix.MemfdCreate("network", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("prepare the network: %w", err)
	}
	u.said = os.NewFile(uintptr(fd), "network")
	u.warden = &exec.Cmd{Path: "/proc/self/exe", Args: append([]string{WardenName}, argv...), Env: []string{"GOMAXPROCS=1", "PATH=/usr/bin:/bin"}, Dir: "/",
		Stdout: u.said, Stderr: u.said, ExtraFiles: files, SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	if err := u.warden.Start(); err != nil {
		u.warden = nil
		return fmt.Errorf("start the network: %w", err)
	}
	u.ended = make(chan error, 1)
	go func() { u.ended <- u.warden.Wait() }()
	return nil
}

// failed adds what the program said.
func (u *UserMode) failed(what string, err error) error {
	b := make([]byte, 2048)
	n, _ := u.said.ReadAt(b, 0)
	name := filepath.Base(u.program)
	var lines []string
	for line := range strings.Lines(string(b[:n])) {
		if line = strings.TrimSpace(line); line != "" && !strings.Contains(line, "syslog") {
			lines = append(lines, line)
		}
	}
	if err == nil {
		err = errors.New("it ended")
	}
	if len(lines) > 0 {
		err = fmt.Errorf("%w: %s", err, strings.Join(lines[max(0, len(lines)-3):], "; "))
	}
	return &Error{Problem: what + " by " + name, Err: err, Fix: "does this machine have a default route, and is the port free and above 1023? Else --net=host"}
}

// Close ends the program, if nobody else holds Lifeline.
func (u *UserMode) Close() {
	u.Lifeline.Close()
	u.theirs.Close()
	if u.warden != nil {
		<-u.ended // its end was asked for: how it ended says nothing
	}
	if u.said != nil {
		u.said.Close()
	}
}

// ownUsers says whether a process has another user namespace than this one.
func ownUsers(pid int) bool {
	var ours, theirs unix.Stat_t
	return unix.Stat("/proc/self/ns/user", &ours) != nil || unix.Stat("/proc/"+strconv.Itoa(pid)+"/ns/user", &theirs) != nil || ours.Ino != theirs.Ino
}

// hasRoute says whether a process's network has a default route.
func hasRoute(pid int) bool {
	proc := "/proc/" + strconv.Itoa(pid) + "/net/"
	if b, err := os.ReadFile(proc + "route"); err == nil {
		for line := range bytes.Lines(b) {
			if f := bytes.Fields(line); len(f) > 7 && string(f[1]) == "00000000" && string(f[7]) == "00000000" {
				return true
			}
		}
	}
	b, err := os.ReadFile(proc + "ipv6_route")
	if err != nil {
		return false
	}
	for line := range bytes.Lines(b) {
		f := bytes.Fields(line)
		if len(f) > 9 && string(f[1]) == "00" && strings.Trim(string(f[0]), "0") == "" && string(f[9]) != "lo" {
			return true
		}
	}
	return false
}

// addForward asks slirp4netns for a port.
func addForward(api string, p Port) error {
	c, err := net.DialTimeout("unix", api, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	ask := map[string]any{"execute": "add_hostfwd", "arguments": map[string]any{"proto": p.Proto, "host_addr": p.IP.String(), "host_port": p.Host, "guest_port": p.Inner}}
	if err := json.NewEncoder(c).Encode(ask); err != nil {
		return err
	}
	if err := c.(*net.UnixConn).CloseWrite(); err != nil {
		return err
	}
	var answer struct {
		Error *struct {
			Desc string `json:"desc"`
		} `json:"error"`
	}
	if err := json.NewDecoder(io.LimitReader(c, 4096)).Decode(&answer); err != nil {
		return err
	}
	if answer.Error != nil {
		return errors.New(answer.Error.Desc)
	}
	return nil
}

// placeNamespaces binds the namespaces to names: pasta closes what it inherits, and gives up the right to open those of
// another process before it does so.
func placeNamespaces() error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("namespaces", wardenPlace, "tmpfs", 0, "mode=755,size=64k"); err != nil {
		return fmt.Errorf("%s: %w", wardenPlace, err)
	}
	for fd, kind := range map[string]string{"4": "user", "5": "net"} {
		name := wardenPlace + "/" + kind
		if err := os.WriteFile(name, nil, 0o444); err != nil {
			return err
		}
		if err := unix.Mount("/proc/thread-self/fd/"+fd, name, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// WardenMain is the warden's life, if args say that this process is one; its code is that of the program. It has the read
// end of the lifeline as descriptor 3, and the container's namespaces as 4 and 5.
func WardenMain(args []string) (code int, is bool) {
	if len(args) < 2 || args[0] != WardenName {
		return 0, false
	}
	runtime.LockOSThread() // the program dies with the thread that started it
	for fd := 3; fd < 6; fd++ {
		unix.CloseOnExec(fd)
	}
	if err := placeNamespaces(); err != nil {
		fmt.Fprintln(os.Stderr, "show the namespaces:", err)
		return 1, true
	}
	c := &exec.Cmd{Path: args[1], Args: args[1:], Stdout: os.Stdout, Stderr: os.Stderr, SysProcAttr: &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}}
	if err := c.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	go func() {
		b := make([]byte, 1)
		for {
			if n, err := unix.Read(3, b); err != unix.EINTR && n <= 0 {
				break
			}
		}
		_ = c.Process.Kill() // fails if it has ended
	}()
	if err := c.Wait(); err != nil {
		return 1, true
	}
	return 0, true
}
