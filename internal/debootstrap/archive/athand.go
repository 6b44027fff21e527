package archive

import "time"

// AtHand opens the pockets as they were last read, without asking a mirror: ok says that the store has
// the Release of each, one that would be taken today, and its indices of the components.
func AtHand(o Options) (a *Archive, ok bool) {
	a, err := prepare(o)
	if err != nil {
		return nil, false
	}
	for _, p := range a.Pockets {
		if !a.openRecorded(p) {
			return nil, false
		}
		for _, c := range a.o.Components {
			f, _, err := a.choose(p, c+"/binary-"+a.o.Arch+"/Packages")
			if err != nil || f.Size > 0 && !a.o.Store.HasDownload(f.SHA256, f.Size) {
				return nil, false
			}
		}
	}
	return a, true
}

// openRecorded takes the first recorded Release of p's mirrors that is good.
func (a *Archive) openRecorded(p *Pocket) bool {
	for i, mirror := range p.mirrors {
		old := a.load(p, mirror)
		if old == nil {
			continue
		}
		r, err := a.verify(old.message, a.lenient(p, i))
		if err == nil {
			err = a.judge(p.Suite, r, time.Time{}, a.lenient(p, i))
		}
		if err == nil {
			p.use(i, r)
			return true
		}
	}
	return false
}
