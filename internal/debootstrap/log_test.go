package debootstrap

import (
	"bytes"
	"strings"
	"testing"
)

func TestBoundedLog(t *testing.T) {
	var out bytes.Buffer
	l := &boundedLog{w: &out, left: 10}
	for _, s := range []string{"12345", "67890", "x", "more", strings.Repeat("y", 1000)} {
		if n, err := l.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatalf("write of %d bytes: %d, %v", len(s), n, err)
		}
	}
	if got := out.String(); !strings.HasPrefix(got, "1234567890\n[the output beyond") || strings.Count(got, "beyond") != 1 || strings.Contains(got, "more") {
		t.Errorf("kept %q", got)
	}
}
