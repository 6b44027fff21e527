package container

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCopiesOfSignals(t *testing.T) {
	start := time.Unix(1000, 0)
	type arrival struct {
		sig     os.Signal
		relayed bool
		ms      int
		want    bool
	}
	for summary, list := range map[string][]arrival{
		"relayed alone":           {{unix.SIGINT, true, 0, true}},
		"own, then its copy":      {{unix.SIGINT, false, 0, true}, {unix.SIGINT, true, 5, false}},
		"copy first":              {{unix.SIGINT, true, 0, true}, {unix.SIGINT, false, 5, false}},
		"typed twice":             {{unix.SIGINT, false, 0, true}, {unix.SIGINT, true, 1, false}, {unix.SIGINT, false, 90, true}, {unix.SIGINT, true, 91, false}},
		"typed twice, late":       {{unix.SIGINT, false, 0, true}, {unix.SIGINT, false, 3, true}, {unix.SIGINT, true, 4, false}, {unix.SIGINT, true, 5, false}},
		"two kills":               {{unix.SIGTERM, true, 0, true}, {unix.SIGTERM, true, 10, true}},
		"different ones":          {{unix.SIGINT, false, 0, true}, {unix.SIGTERM, true, 1, true}},
		"too late to be a copy":   {{unix.SIGINT, false, 0, true}, {unix.SIGINT, true, 400, true}},
		"the same way much later": {{unix.SIGINT, false, 0, true}, {unix.SIGINT, false, 400, true}, {unix.SIGINT, true, 401, false}, {unix.SIGINT, true, 402, true}},
	} {
		var c copies
		for i, a := range list {
			if got := c.first(a.sig, a.relayed, start.Add(time.Duration(a.ms)*time.Millisecond)); got != a.want {
				t.Errorf("%s: arrival %d: %v, want %v", summary, i, got, a.want)
			}
		}
	}
}
