package main

// how a root was got.
type how string

const (
	howCached how = "cached"
	howPulled how = "pulled"
	howBuilt  how = "built"
)

func (b *built) how() how {
	switch {
	case b.Pulled != "":
		return howPulled
	case b.Cached:
		return howCached
	}
	return howBuilt
}

// why is a few words on it.
func (b *built) why() string {
	switch {
	case b.Pulled != "":
		return b.Pulled + " has key " + b.Key.Short()
	case b.Cached && b.Unchecked != nil:
		return "no mirror was asked, and the same request led to it last"
	case b.Cached:
		return "the cache has key " + b.Key.Short()
	case b.remote != "":
		return "the cache has no key " + b.Key.Short() + ", and " + b.remote
	}
	return "the cache has no key " + b.Key.Short()
}
