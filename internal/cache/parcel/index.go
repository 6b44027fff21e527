package parcel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// decode reads an index as it comes: entries are counted before there is room for the next, for some kilobytes of zstd can
// unpack to more empty ones than the machine has memory for.
func (x *Index) decode(r io.Reader) error {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := expect(d, '{'); err != nil {
		return err
	}
	left := maxMembers
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		switch key {
		case "cache_schema":
			err = d.Decode(&x.CacheSchema)
		case "roots":
			err = list(d, &x.Roots, &left)
		case "downloads":
			err = list(d, &x.Downloads, &left)
		case "records":
			err = list(d, &x.Records, &left)
		case "names":
			err = list(d, &x.Names, &left)
		default:
			err = fmt.Errorf("unknown field %.80q", key)
		}
		if err != nil {
			return err
		}
	}
	if err := expect(d, '}'); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows its end")
	}
	return nil
}

// list reads an array of at most *left entries, which it counts down; null is none.
func list[T any](d *json.Decoder, to *[]T, left *int) error {
	switch t, err := d.Token(); {
	case err != nil:
		return err
	case t == nil:
		return nil
	case t != json.Delim('['):
		return fmt.Errorf("%v where a list was expected", t)
	}
	for d.More() {
		if *left--; *left < 0 {
			return fmt.Errorf("more than %d entries", maxMembers)
		}
		var v T
		if err := d.Decode(&v); err != nil {
			return err
		}
		*to = append(*to, v)
	}
	return expect(d, ']')
}

func expect(d *json.Decoder, want json.Delim) error {
	t, err := d.Token()
	if err == nil && t != want {
		err = fmt.Errorf("%.80v where %v was expected", t, want)
	}
	return err
}
