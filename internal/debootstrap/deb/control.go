package deb

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"strings"
)

const (
	// MaxControl bounds the decompressed control member.
	MaxControl = 64 << 20
	// MaxControlMembers bounds its files.
	MaxControlMembers = 4096
)

// A Control is a package's control member.
type Control struct {
	Paragraph string   // the file "control", as it stands
	Members   []Member // all files, "control" included, in archive order
}

// A Member is one file of the control member.
type Member struct {
	Name string // without directory
	Mode uint32 // permission bits, set-id and sticky included
	Data []byte
}

// Control reads the control member whole. Anything in it but plain files, and names that stand
// twice, are errors; dpkg knows no use for them.
func (d *Reader) Control() (*Control, error) {
	r, err := d.stream(d.control, MaxControl)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", d.control.name, err)
	}
	defer r.Close()
	c, err := readControl(r)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", d.control.name, err)
	}
	return c, nil
}

func readControl(r io.Reader) (*Control, error) {
	var c Control
	seen := make(map[string]bool)
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		name := strings.TrimPrefix(h.Name, "./")
		if h.Typeflag == tar.TypeDir && (name == "" || name == ".") {
			continue
		}
		switch {
		case h.Typeflag != tar.TypeReg:
			return nil, formatError("member %q is not a plain file", h.Name)
		case name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00\n"):
			return nil, formatError("illegal member name %q", h.Name)
		case seen[name]:
			return nil, formatError("member %q stands twice", name)
		case len(seen) == MaxControlMembers:
			return nil, formatError("more than %d members", MaxControlMembers)
		}
		seen[name] = true
		// The size in the header is not believed; what can arrive is bounded by the stream's limit.
		var data bytes.Buffer
		if _, err := io.Copy(&data, t); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		c.Members = append(c.Members, Member{Name: name, Mode: uint32(h.Mode) & 0o7777, Data: data.Bytes()})
		if name == "control" {
			c.Paragraph = data.String()
		}
	}
	if !seen["control"] {
		return nil, formatError("no file called control")
	}
	// What follows the archive's end is padding; reading it verifies the compression's checksum.
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, err
	}
	return &c, nil
}
