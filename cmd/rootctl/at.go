package main

import (
	"fmt"
	"time"

	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/debootstrap/lockfile"
)

// asOf reads --at, and finds the snapshot service that the past is read from.
func (s *selection) asOf(a *app, r *debootstrap.Request) (err error) {
	if r.Snapshot, err = a.configuredSnapshot(r.Suite); err != nil || s.at == "" {
		return err
	}
	r.At, err = parseMoment(s.at)
	if err != nil {
		return withHint(&flagError{fmt.Errorf("--at %q is no time", s.at)}, "--at 2026-03-01 or --at 2026-03-01T12:00:00Z, both in UTC")
	}
	if r.At.After(a.now()) {
		return withHint(&flagError{fmt.Errorf("--at %s lies in the future", s.at)}, "leave it out for what the archive has now")
	}
	return nil
}

// parseMoment takes a day, or a time in UTC to the second.
func parseMoment(s string) (t time.Time, err error) {
	for _, layout := range []string{time.DateOnly, "2006-01-02T15:04:05Z", lockfile.AtLayout} {
		if t, err = time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return t, err
}
