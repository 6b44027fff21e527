package main

import (
	"fmt"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
)

// before is what was known of a root before it was asked for: it tells why it had to be made.
type before struct {
	key, root cache.Digest // of the last build of the same request or lock; "" if there was none
	there     bool         // its root is
	date      time.Time    // of the archive then
	locked    bool         // a lock file says what it is
}

// beforeBuild looks at what the request led to last.
func beforeBuild(store *cache.Store, req debootstrap.Request, lock *debootstrap.Lock) before {
	ref, err := debootstrap.LastBuilt(store, req)
	if lock != nil {
		ref, err = debootstrap.RefOfKey(store, debootstrap.KeyOf(lock))
	}
	if err != nil {
		return before{locked: lock != nil}
	}
	was := before{locked: lock != nil, key: ref.Key, root: ref.Root, there: store.HasRoot(ref.Root)}
	if info, err := debootstrap.InfoOf(ref); err == nil && len(info.Pockets) > 0 {
		was.date = info.Pockets[0].Date
	}
	return was
}

// since says in a line why a root was taken from where it was, by what was there before.
func (b *built) since(was before) string {
	switch {
	case b.Pulled != "":
		return b.why()
	case b.Cached && b.Unchecked != nil:
		return "no mirror was asked: as of the archive of " + b.Unchecked.UTC().Format(time.DateOnly)
	case b.Cached && was.locked:
		return "its key is that of the lock file"
	case b.Cached && was.key == "":
		return "another request led to the same key"
	case b.Cached && was.key != b.Key:
		return "the archive has changed, to what is in the cache"
	case b.Cached:
		return "the archive leads to the same key"
	case was.key == "":
		return "it was never built in this cache"
	case was.key != b.Key:
		return fmt.Sprintf("the packages are others than those of %s", was.date.UTC().Format(time.DateOnly))
	case !was.there:
		return "its root was collected or damaged"
	}
	return "its root could not be used"
}
