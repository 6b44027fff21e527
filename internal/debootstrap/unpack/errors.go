package unpack

import "fmt"

// MemberError is a member of a package's data archive that was refused. Nothing
// of it has been written outside the tree.
type MemberError struct {
	Package string
	Member  string // the name as the archive has it
	Err     error
}

func (e *MemberError) Error() string {
	name := e.Member
	if len(name) > 200 {
		name = name[:200] + "..."
	}
	return fmt.Sprintf("unpack %s: member %q: %v", e.Package, name, e.Err)
}

func (e *MemberError) Unwrap() error { return e.Err }

// Conflict is a file that two packages ship, neither of which Replaces the
// other.
type Conflict struct{ Path, Other string }

func (e *Conflict) Error() string {
	return fmt.Sprintf("%s is also in package %s, and neither Replaces the other", e.Path, e.Other)
}

// TooBig is a package that unpacks to more than Limits allow.
type TooBig struct {
	What string // "bytes", "members" or "bytes of names"
	Max  int64
}

func (e *TooBig) Error() string {
	return fmt.Sprintf("the package holds more than %d %s", e.Max, e.What)
}
