package resolve

import "testing"

// Two letters swapped are one mistake: what was meant comes first.
func TestNearSwapped(t *testing.T) {
	ix := &Index{byName: map[string]Package{"cu": {}, "cron": {}, "crda": {}, "curl": {}, "crossfire": {}}}
	if got := ix.near("crul"); len(got) == 0 || got[0] != "curl" {
		t.Errorf("crul: %q", got)
	}
}
