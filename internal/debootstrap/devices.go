package debootstrap

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/unpack"
)

// What lies in a root's /dev, one name a line:
//
//	d MODE NAME                               directory
//	l TARGET NAME                             symbolic link
//	c|b MODE UID GID MAJOR MINOR NAME [N [+K]]  device; N of them, NAME0 NAME1 ... with minors K apart
//
// Directories and links are made in the tree. Devices never are: they go to the
// manifest alone, so that a build needs no right to make them and the cache
// holds none that works.
const (
	// standardDevices is what debootstrap makes itself.
	standardDevices = `
d 0755 pts
d 0755 shm
l /proc/self/fd fd
l /proc/self/fd/0 stdin
l /proc/self/fd/1 stdout
l /proc/self/fd/2 stderr
c 0666 0 0 5 1 console
c 0666 0 0 1 7 full
c 0666 0 0 1 3 null
c 0666 0 0 5 2 ptmx
c 0666 0 0 1 8 random
c 0666 0 0 5 0 tty
c 0666 0 0 1 9 urandom
c 0666 0 0 1 5 zero`

	// xenialDevices is what the postinst of makedev 2.3.1-93 leaves (MAKEDEV
	// "generic", with ids of base-passwd: 5 tty, 6 disk, 15 kmem, 29 audio, 44
	// video), over debootstrap's own.
	xenialDevices = `
d 0755 pts
d 0755 shm
l /proc/kcore core
l /proc/self/fd fd
l fd/0 stdin
l fd/1 stdout
l fd/2 stderr
l ram1 ram
c 0660 0 44 10 175 agpgart
c 0660 0 29 14 4 audio
c 0660 0 29 14 20 audio1
c 0660 0 29 14 36 audio2
c 0660 0 29 14 52 audio3
c 0660 0 29 14 7 audioctl
c 0600 0 5 5 1 console
c 0660 0 29 14 3 dsp
c 0660 0 29 14 19 dsp1
c 0660 0 29 14 35 dsp2
c 0660 0 29 14 51 dsp3
c 0666 0 0 1 7 full
c 0640 0 15 1 2 kmem
b 0660 0 6 7 0 loop 8
c 0640 0 15 1 1 mem
c 0660 0 29 35 0 midi 4
c 0660 0 29 14 2 midi0 4 +16
c 0660 0 29 14 0 mixer
c 0660 0 29 14 16 mixer1
c 0660 0 29 14 32 mixer2
c 0660 0 29 14 48 mixer3
c 0660 0 29 31 0 mpu401data
c 0660 0 29 31 1 mpu401stat
c 0666 0 0 1 3 null
c 0640 0 15 1 4 port
c 0666 0 0 5 2 ptmx
b 0660 0 6 1 0 ram 17
c 0666 0 0 1 8 random
c 0660 0 29 35 64 rmidi 4
c 0660 0 29 14 1 sequencer
c 0660 0 29 35 128 smpte 4
c 0660 0 29 14 6 sndstat
c 0666 0 5 5 0 tty
c 0600 0 5 4 0 tty 10
c 0666 0 0 1 9 urandom
c 0666 0 0 1 5 zero`
)

func deviceTable(name string) (string, error) {
	switch name {
	case "":
		return standardDevices, nil
	case "xenial":
		return xenialDevices, nil
	}
	return "", fmt.Errorf("no device table %q", name)
}

// device is a line of a table.
type device struct {
	kind          byte // 'd', 'l', 'c', 'b'
	name, target  string
	mode          uint32
	uid, gid      uint32
	major, minor  uint32
	count, stride uint32
}

func parseDevices(table string) ([]device, error) {
	var all []device
	for line := range strings.Lines(strings.TrimSpace(table)) {
		d, err := parseDevice(strings.Fields(line))
		if err != nil {
			return nil, fmt.Errorf("device table: line %q: %w", strings.TrimSpace(line), err)
		}
		all = append(all, d)
	}
	return all, nil
}

func parseDevice(f []string) (d device, err error) {
	number := func(s string, base int) uint32 {
		n, e := strconv.ParseUint(s, base, 32)
		if e != nil && err == nil {
			err = e
		}
		return uint32(n)
	}
	switch {
	case len(f) == 3 && f[0] == "d":
		return device{kind: 'd', mode: number(f[1], 8), name: f[2]}, err
	case len(f) == 3 && f[0] == "l":
		return device{kind: 'l', target: f[1], name: f[2]}, nil
	case len(f) < 7 || len(f) > 9 || f[0] != "c" && f[0] != "b":
		return d, fmt.Errorf("%d fields", len(f))
	}
	d = device{
		kind: f[0][0], mode: number(f[1], 8), uid: number(f[2], 10), gid: number(f[3], 10),
		major: number(f[4], 10), minor: number(f[5], 10), name: f[6], stride: 1,
	}
	if len(f) > 7 {
		d.count = number(f[7], 10)
	}
	if len(f) > 8 {
		d.stride = number(strings.TrimPrefix(f[8], "+"), 10)
	}
	return d, err
}

// entries are the manifest's for the devices of a line.
func (d device) entries(epoch int64) []cache.Entry {
	e := cache.Entry{
		Path: "dev/" + d.name, Type: d.kind, Mode: d.mode, UID: d.uid, GID: d.gid,
		MTime: epoch, Major: d.major, Minor: d.minor,
	}
	if d.count == 0 {
		return []cache.Entry{e}
	}
	all := make([]cache.Entry, d.count)
	for i := range all {
		all[i] = e
		all[i].Path = e.Path + strconv.Itoa(i)
		all[i].Minor = d.minor + uint32(i)*d.stride
	}
	return all
}

// devices makes the directories and links of the suite's table in the tree's
// /dev and returns entries for its devices, and for those that packages ship. A
// name that a package or script left in /dev stays as it is.
func (in *installer) devices(epoch int64) ([]cache.Entry, error) {
	table := in.lock.Rules.DeviceTable
	if !slices.ContainsFunc(in.lock.Packages, func(p LockPackage) bool { return p.Name == "makedev" }) {
		table = "" // nobody would have made the others
	}
	text, err := deviceTable(table)
	if err != nil {
		return nil, err
	}
	devices, err := parseDevices(text)
	if err != nil {
		return nil, err
	}
	if err := in.realDir("/dev"); err != nil {
		return nil, err
	}
	var all []cache.Entry
	taken := map[string]bool{}
	for _, n := range in.nodes {
		e := nodeEntry(n, epoch)
		taken[e.Path] = true
		all = append(all, e)
	}
	for _, d := range devices {
		switch d.kind {
		case 'd':
			err = in.t.MkdirAll("/dev/"+d.name, unpack.Meta{Mode: d.mode})
		case 'l':
			_, err = in.t.Symlink(d.target, "/dev/"+d.name)
		default:
			for _, e := range d.entries(epoch) {
				if !taken[e.Path] && !in.t.Exists("/"+e.Path) {
					all = append(all, e)
				}
			}
		}
		if err != nil {
			return nil, fmt.Errorf("make /dev/%s: %w", d.name, err)
		}
	}
	slices.SortFunc(all, func(a, b cache.Entry) int { return strings.Compare(a.Path, b.Path) })
	return all, nil
}

// nodeEntry is the manifest's for a device or fifo that a package ships.
func nodeEntry(n unpack.Node, epoch int64) cache.Entry {
	return cache.Entry{
		Path: strings.TrimPrefix(n.Path, "/"), Type: n.Type,
		Mode: n.Meta.Mode, UID: uint32(n.Meta.UID), GID: uint32(n.Meta.GID),
		MTime: min(n.MTime, epoch), Major: n.Major, Minor: n.Minor,
	}
}
