package intake

import (
	"errors"
	"fmt"
	"strconv"
)

// A MemberError is an entry of an archive that was refused. Nothing of it has been written outside the folder.
type MemberError struct {
	Name string // as the archive has it
	Err  error
}

func (e *MemberError) Error() string { return fmt.Sprintf("entry %s: %v", quoted(e.Name), e.Err) }
func (e *MemberError) Unwrap() error { return e.Err }

// Hint is the next step, unless the cause has one of its own.
func (e *MemberError) Hint() string {
	var own interface{ Hint() string }
	if errors.As(e.Err, &own) {
		return own.Hint()
	}
	return ""
}

// refused is an entry that no honest archive of a root has.
type refused struct{ what string }

func (e *refused) Error() string { return e.what }
func (e *refused) Hint() string {
	return "such an archive is damaged or made to do harm; a good one is what tar -C ROOT --numeric-owner --xattrs --xattrs-include='*' -c . writes"
}

func refuse(format string, args ...any) error { return &refused{fmt.Sprintf(format, args...)} }

// A LimitError is an archive that holds more than is allowed.
type LimitError struct {
	What string // "bytes of files" and the like
	Max  int64
	Next string // the next step
}

func (e *LimitError) Error() string { return fmt.Sprintf("it holds more than %d %s", e.Max, e.What) }
func (e *LimitError) Hint() string  { return e.Next }

// A FormatError is input that is no archive that can be read, or one that is damaged.
type FormatError struct {
	What string
	Err  error // may be nil
	Next string
}

func (e *FormatError) Error() string {
	if e.Err != nil {
		return e.What + ": " + e.Err.Error()
	}
	return e.What
}
func (e *FormatError) Unwrap() error { return e.Err }
func (e *FormatError) Hint() string {
	if e.Next == "" {
		return "get or make the file again, and compare its checksum"
	}
	return e.Next
}

// quoted is a name from an archive for an error message.
func quoted(name string) string {
	if len(name) > 200 {
		name = name[:200] + "..."
	}
	return strconv.Quote(name)
}
