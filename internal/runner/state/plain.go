package state

import (
	"time"

	"github.com/rootctl/rootctl/internal/runner"
)

// plain reads a record as this package writes it for a container of which nothing special was asked, without
// encoding/json, which takes a quarter of a millisecond to look at the types once. It reports false for all else: a
// further field, a character that is escaped or not ASCII, a large number. Where it reports true encoding/json gives the same.
func plain(b []byte) (*Container, bool) {
	r, c := reader{b: b}, &Container{}
	ok := r.object(func(key string) bool {
		switch key {
		case "id":
			return r.text(&c.ID)
		case "name":
			return r.text(&c.Name)
		case "root":
			return r.text(&c.Root)
		case "root_name":
			return r.text(&c.RootName)
		case "created":
			return r.time(&c.Created)
		case "started":
			return r.time(&c.Started)
		case "pid":
			return number(&r, &c.PID)
		case "start_time":
			return number(&r, &c.StartTime)
		case "pidfd_inode":
			return number(&r, &c.PidfdInode)
		case "boot_id":
			return r.text(&c.BootID)
		case "monitor":
			return number(&r, &c.Monitor)
		case "monitor_start":
			return number(&r, &c.MonitorStart)
		case "detached":
			return r.flag(&c.Detached)
		case "keep":
			return r.flag(&c.Keep)
		case "cache":
			return r.text(&c.Cache)
		case "copy":
			return r.text(&c.Copy)
		case "spec":
			return r.spec(&c.Spec)
		}
		return false
	})
	return c, ok && r.at == len(b)
}

func (r *reader) spec(s *runner.Spec) bool {
	return r.object(func(key string) bool {
		switch key {
		case "lower":
			return r.texts(&s.Lower)
		case "work":
			return r.text(&s.Work)
		case "argv":
			return r.texts(&s.Argv)
		case "env":
			return r.texts(&s.Env)
		case "hostname":
			return r.text(&s.Hostname)
		case "userns":
			return r.text(&s.UserNS)
		case "ids":
			return r.object(func(key string) bool {
				switch key {
				case "base":
					return number(r, &s.IDs.Base)
				case "size":
					return number(r, &s.IDs.Size)
				}
				return false
			})
		case "net":
			return r.text(&s.Net)
		case "caps":
			return r.word("null")
		case "umask":
			return number(r, &s.Umask)
		case "keep_work":
			return r.flag(&s.KeepWork)
		case "keep_copy":
			return r.flag(&s.KeepCopy)
		case "etc_below":
			return r.flag(&s.EtcBelow)
		}
		return false
	})
}

// reader reads JSON without spaces from at on.
type reader struct {
	b  []byte
	at int
}

func (r *reader) word(w string) bool {
	if len(r.b)-r.at < len(w) || string(r.b[r.at:r.at+len(w)]) != w {
		return false
	}
	r.at += len(w)
	return true
}

// object reads {"KEY":VALUE,...}; value reads what stands behind a key.
func (r *reader) object(value func(key string) bool) bool {
	if !r.word("{") {
		return false
	}
	if r.word("}") {
		return true
	}
	for {
		var key string
		if !r.text(&key) || !r.word(":") || !value(key) {
			return false
		}
		if !r.word(",") {
			return r.word("}")
		}
	}
}

func (r *reader) text(to *string) bool {
	if !r.word(`"`) {
		return false
	}
	for i := r.at; i < len(r.b); i++ {
		switch c := r.b[i]; {
		case c == '"':
			*to = string(r.b[r.at:i])
			r.at = i + 1
			return true
		case c == '\\' || c < ' ' || c > '~':
			return false
		}
	}
	return false
}

func (r *reader) texts(to *[]string) bool {
	if !r.word("[") {
		return false
	}
	*to = []string{}
	if r.word("]") {
		return true
	}
	for {
		var s string
		if !r.text(&s) {
			return false
		}
		*to = append(*to, s)
		if !r.word(",") {
			return r.word("]")
		}
	}
}

func (r *reader) time(to *time.Time) bool {
	var s string
	return r.text(&s) && to.UnmarshalText([]byte(s)) == nil
}

func (r *reader) flag(to *bool) bool {
	*to = r.word("true")
	return *to || r.word("false")
}

// number reads a whole one of at most 18 digits that its type has room for.
func number[T int | uint64 | uint32](r *reader, to *T) bool {
	n, from := uint64(0), r.at
	for r.at < len(r.b) && r.b[r.at] >= '0' && r.b[r.at] <= '9' && r.at-from < 18 {
		n = n*10 + uint64(r.b[r.at]-'0')
		r.at++
	}
	if r.at == from || r.b[from] == '0' && r.at-from > 1 || uint64(T(n)) != n {
		return false
	}
	*to = T(n)
	return true
}
