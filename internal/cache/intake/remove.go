package intake

// A Removal is a name that a container took away, or all that was in a directory.
type Removal struct {
	Path     string
	Contents bool // only what is in it
}

// Remove takes away names that earlier layers made. One that is not there is no error: it was made and removed again.
func (u *Unpacker) Remove(names []Removal) error {
	if len(names) == 0 {
		return nil
	}
	u.layer++
	for _, r := range names {
		n := u.lookup(r.Path)
		if n == nil {
			continue
		}
		if r.Contents {
			if err := u.hide(n, r.Path); err != nil {
				return memberError(r.Path, err)
			}
			continue
		}
		dir, base := split(r.Path)
		if err := u.whiteout(u.lookup(dir), r.Path, base); err != nil {
			return memberError(r.Path, err)
		}
	}
	return nil
}
