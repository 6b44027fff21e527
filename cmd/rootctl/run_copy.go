package main

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/rootctl/rootctl/internal/runner"
)

// copyFlags say where a copy's changes go, and what of it can be changed.
type copyFlags struct {
	upper    string
	tmpfs    []string
	readOnly bool
}

func (c *copyFlags) register(f *pflag.FlagSet) {
	f.StringVar(&c.upper, "upper", "disk", "`where` the copy keeps what is changed: disk, tmpfs, or tmpfs:size=SIZE")
	f.StringArrayVar(&c.tmpfs, "tmpfs", nil, "an empty folder in memory: `PATH[:size=SIZE,mode=MODE]`, may be repeated")
	f.BoolVar(&c.readOnly, "read-only", false, "nothing in the copy can be changed; /tmp, /run, --tmpfs and --bind still can")
}

// inMemory says that the copy's changes are never on disk.
func (c *copyFlags) inMemory() bool { return c.upper != "disk" }

func (c *copyFlags) apply(s *runner.Spec) error {
	where, options, _ := strings.Cut(c.upper, ":")
	bad := func(why string) error {
		return withHint(&flagError{fmt.Errorf("--upper %s: %s", c.upper, why)}, "--upper=disk, --upper=tmpfs or --upper=tmpfs:size=2GB")
	}
	if where != "tmpfs" && c.upper != "disk" {
		return bad("unknown place")
	}
	if where == "tmpfs" && c.upper != "tmpfs" {
		key, value, _ := strings.Cut(options, "=")
		size, err := parseSize(value)
		if key != "size" || err != nil || size == 0 {
			return bad("it takes a size alone")
		}
		s.UpperSize = size
	}
	for _, t := range c.tmpfs {
		m, err := parseTmpfs(t)
		if err != nil {
			return err
		}
		s.Memory = append(s.Memory, m)
	}
	s.ReadOnly = c.readOnly
	return nil
}

// parseTmpfs reads PATH[:size=SIZE,mode=MODE].
func parseTmpfs(arg string) (runner.Memory, error) {
	bad := func(why string) (runner.Memory, error) {
		return runner.Memory{}, withHint(&flagError{fmt.Errorf("--tmpfs %s: %s", arg, why)}, "--tmpfs PATH[:size=SIZE,mode=MODE], for example --tmpfs /cache:size=1GB,mode=1777")
	}
	at, options, given := strings.Cut(arg, ":")
	if !path.IsAbs(at) || path.Clean(at) == "/" {
		return bad("the place must be an absolute path other than /")
	}
	m := runner.Memory{Path: path.Clean(at)}
	if !given {
		return m, nil
	}
	for _, o := range strings.Split(options, ",") {
		key, value, _ := strings.Cut(o, "=")
		switch key {
		case "size":
			size, err := parseSize(value)
			if err != nil || size == 0 {
				return bad("a size is like 512MB, 1GiB or a number of bytes")
			}
			m.Size = size
		case "mode":
			mode, err := strconv.ParseUint(value, 8, 12)
			if err != nil || mode == 0 {
				return bad("a mode is like 755 or 1777")
			}
			m.Mode = uint32(mode)
		default:
			return bad(fmt.Sprintf("unknown option %q", o))
		}
	}
	return m, nil
}
