package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// bounds are how big a cache may grow and how old a root without a name; 0 is no bound.
type bounds struct {
	size int64
	age  time.Duration
}

const (
	defaultMaxSize = 20e9
	defaultMaxAge  = 60 * 24 * time.Hour
)

// bounds come from the flags, else the environment, else the configuration, else they are the least of 20 GB and a tenth
// of the cache's disk, and 60 days.
func (a *app) bounds(dir, sizeFlag, ageFlag string) (bounds, error) {
	c, err := a.config()
	if err != nil {
		return bounds{}, err
	}
	b := bounds{size: defaultMaxSize, age: defaultMaxAge}
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) == nil {
		b.size = min(b.size, int64(st.Blocks)*st.Frsize/10)
	}
	for _, s := range []struct{ from, text string }{{"--max-size", sizeFlag}, {"ROOTCTL_CACHE_MAX_SIZE", a.getenv("ROOTCTL_CACHE_MAX_SIZE")},
		{"configuration: [cache] max-size", c.Cache.MaxSize}} {
		if s.text == "" {
			continue
		}
		if b.size, err = parseSize(s.text); err != nil {
			return b, badSetting(s.from, s.text, err, "a size is like 20GB, 500MB, 1.5GiB or a number of bytes; none is no bound")
		}
		break
	}
	for _, s := range []struct{ from, text string }{{"--max-age", ageFlag}, {"ROOTCTL_CACHE_MAX_AGE", a.getenv("ROOTCTL_CACHE_MAX_AGE")},
		{"configuration: [cache] max-age", c.Cache.MaxAge}} {
		if s.text == "" {
			continue
		}
		if b.age, err = parseAge(s.text); err != nil {
			return b, badSetting(s.from, s.text, err, "an age is like 60d, 2w or 12h; none is no bound")
		}
		break
	}
	return b, nil
}

func badSetting(from, text string, err error, hint string) error {
	bad := fmt.Errorf("%s %q: %w", from, text, err)
	return withHint(&flagError{bad}, "%s", hint)
}

var (
	errNoNumber = errors.New("no number with a unit")
	errTooSmall = errors.New("it has to be more than 0")
)

// parseSize reads a size in decimal (GB) or binary (GiB) units; none is 0.
func parseSize(text string) (int64, error) {
	if text == "none" {
		return 0, nil
	}
	number := strings.TrimRight(text, "BbKkMmGgTtIi ")
	unit, ok := map[string]float64{"": 1, "b": 1, "k": 1e3, "kb": 1e3, "m": 1e6, "mb": 1e6, "g": 1e9, "gb": 1e9, "t": 1e12, "tb": 1e12,
		"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}[strings.ToLower(strings.TrimSpace(text[len(number):]))]
	n, err := strconv.ParseFloat(number, 64)
	if err == nil && ok && n*unit < 1 {
		return 0, errTooSmall
	}
	if err != nil || !ok || n*unit > math.MaxInt64/2 || math.IsNaN(n) {
		return 0, errNoNumber
	}
	return int64(n * unit), nil
}

// parseAge reads days (60d), weeks (2w) and Go's durations; none is 0.
func parseAge(text string) (time.Duration, error) {
	if text == "none" {
		return 0, nil
	}
	for suffix, unit := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if number, ok := strings.CutSuffix(text, suffix); ok {
			n, err := strconv.ParseFloat(number, 64)
			if err == nil && n <= 0 {
				return 0, errTooSmall
			}
			if err != nil || math.IsNaN(n) || n > 100*365*float64(24*time.Hour)/float64(unit) {
				return 0, errNoNumber
			}
			return time.Duration(n * float64(unit)), nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, errNoNumber
	}
	if d <= 0 {
		return 0, errTooSmall
	}
	return d, nil
}
