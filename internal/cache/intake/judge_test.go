package intake

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// TestDropped sees that each attribute that is left out is counted, and that one that libarchive writes in two forms is not.
func TestDropped(t *testing.T) {
	u := &Unpacker{dropped: map[string]int{}}
	var e snapshot.Entry
	u.judgeXattrs(&e, map[string]string{
		"SCHILY.xattr.user.both":          "x",
		"LIBARCHIVE.xattr.user.both":      "eA==",
		"SCHILY.xattr.user.a%3Db":         "y",
		"LIBARCHIVE.xattr.user.a%3Db":     "eQ==",
		"LIBARCHIVE.xattr.user.alone":     "eA==",
		"SCHILY.acl.access":               "user::rwx",
		"SCHILY.acl.default":              "user::rwx",
		"SCHILY.xattr.security.selinux":   "z",
		"LIBARCHIVE.xattr.security.other": "eA==",
	})
	want := map[string]int{"attribute in libarchive's form": 2, "access list in words": 2, "attribute security.selinux": 1}
	if diff := cmp.Diff(want, u.Dropped()); diff != "" {
		t.Error(diff)
	}
	if want := map[string]string{"user.both": "x", "user.a=b": "y"}; !maps.Equal(e.Xattrs, want) {
		t.Errorf("attributes %v, want %v", e.Xattrs, want)
	}
}
