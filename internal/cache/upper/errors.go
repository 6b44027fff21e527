package upper

import "fmt"

// A LimitError is a copy that has more than any root.
type LimitError struct{ What string }

func (e *LimitError) Error() string { return e.What }
func (e *LimitError) Hint() string {
	return "look at what the container has left there; exec can remove it while it runs"
}

// An OwnerError is a file that belongs to nobody of the container.
type OwnerError struct {
	Path     string
	UID, GID uint32
}

func (e *OwnerError) Error() string {
	return fmt.Sprintf("%s belongs to %d:%d, which are no ids of the container", e.Path, e.UID, e.GID)
}
func (e *OwnerError) Hint() string {
	return "somebody changed the copy from outside: give the file an owner of the container's range"
}

// A MarkError is an attribute that refers to the root below, which the runner's overlays never write.
type MarkError struct{ Path, Mark string }

func (e *MarkError) Error() string { return fmt.Sprintf("%s has the attribute %s", e.Path, e.Mark) }
func (e *MarkError) Hint() string {
	return "the copy was mounted by something else than rootctl: start from a new one"
}
