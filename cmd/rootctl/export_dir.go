package main

import (
	"context"
	"os"
	"strings"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// writeDir makes the root's tree in a folder, for chroot(8) and its like.
func (e *exporting) writeDir(ctx context.Context) (*exportReport, error) {
	m, err := e.lease.Manifest()
	if err != nil {
		return nil, err
	}
	dir, err := e.createFolder(e.plan.output)
	if err != nil {
		return nil, err
	}
	defer dir.close()
	left, err := m.Place(ctx, e.lease.Tree, dir.at, snapshot.PlaceOptions{
		NoDevices: os.Geteuid() != 0 || e.inside != nil, NoOwners: os.Geteuid() != 0 || e.inside.single(),
		Progress: e.bar.done.Store,
	})
	if err != nil {
		return nil, outputFault(dir.path, err)
	}
	if err := dir.finish(); err != nil {
		return nil, cannotWrite(dir.path, err)
	}
	e.bar.close()
	for _, n := range []struct {
		count      int
		what, hint string
	}{
		{left.Devices, "device nodes were not made", "that needs root"},
		{left.Owners, "files belong to you and not to the owners they have in the root", "you have no id ranges"},
		{left.Attributes, "attributes were not set", "the file system does not take them"},
	} {
		if n.count > 0 {
			e.say("note: %d %s: %s", n.count, n.what, n.hint)
		}
	}
	rep := &exportReport{Format: e.plan.format, Output: dir.path, Size: e.bar.done.Load()}
	if os.Geteuid() == 0 && e.inside == nil {
		rep.Next = "chroot " + shellWord(dir.path)
	}
	return rep, nil
}

// shellWord quotes a path where a shell would not take it as it is.
func shellWord(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:+-@") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
