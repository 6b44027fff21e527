package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"

	"github.com/rootctl/rootctl/internal/reference"
)

// rangeUser has ranges in /etc/subuid and /etc/subgid: `make tools-for-tests` makes it. loneID has none.
const (
	rangeUser = "rootctl-test"
	loneID    = "61235"
)

// users has root, a user with a range of ids and one with a single id build the root, each in a cache of their own,
// and look at it from inside.
func (c *comparer) users(ctx context.Context, job *reference.Job, work string) (string, bool, error) {
	u, err := user.Lookup(rangeUser)
	if err != nil {
		return "", false, fmt.Errorf("%w (make tools-for-tests makes it)", err)
	}
	var digests []string
	clean := true
	for _, id := range []string{"0", u.Uid, loneID} {
		dir, err := os.MkdirTemp("", "rootctl-compare-user-")
		if err != nil {
			return "", false, err
		}
		defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
		rc, err := c.as(id, dir)
		if err != nil {
			return "", false, err
		}
		rep, err := rc.Build(ctx, job, c.flags(job)...)
		if err != nil {
			return "", false, fmt.Errorf("as user %s: %w", id, err)
		}
		tree, err := rc.Tree(rep.Digest)
		if err != nil {
			return "", false, err
		}
		fmt.Fprintf(c.out, "user %-6s sha256:%s\n", id, rep.Digest)
		clean = c.insideIsClean(ctx, rc, rep.Digest, tree) && clean
		digests = append(digests, rep.Digest)
	}
	digests = slices.Compact(digests)
	if len(digests) > 1 {
		fmt.Fprintf(c.out, "  DIFFERS digest: %s\n", digests)
	}
	return fmt.Sprintf("sha256:%.12s by root, range and single id", digests[0]), clean && len(digests) == 1, nil
}

// as is rootctl for a user, with the program copied to where that user may execute it.
func (c *comparer) as(id, dir string) (reference.Rootctl, error) {
	program, err := os.ReadFile(c.program)
	if err != nil {
		return reference.Rootctl{}, err
	}
	home := filepath.Join(dir, "home")
	own, as := filepath.Join(dir, "rootctl"), filepath.Join(dir, "as-user")
	script := fmt.Sprintf("#!/bin/sh\nHOME=%s exec setpriv --reuid %s --regid %s --clear-groups %s \"$@\"\n", home, id, id, own)
	var n int
	_, err = fmt.Sscan(id, &n)
	err = errors.Join(err, os.Chmod(dir, 0o755), os.WriteFile(own, program, 0o755), os.WriteFile(as, []byte(script), 0o755),
		os.Mkdir(home, 0o755), os.Chown(home, n, n))
	return reference.Rootctl{Program: as, Cache: filepath.Join(home, "cache")}, err
}
