package main

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/runner"
)

// caBundle is where Debian's and Ubuntu's programs look for authorities.
const caBundle = "etc/ssl/certs/ca-certificates.crt"

const maxBundle = 4 << 20

// putCA adds the authorities of --ca-file to those of a copy that has a network, and tells programs that look elsewhere.
func putCA(file string, s *runner.Spec, tree string) error {
	if file == "" || s.Net == "none" {
		return nil
	}
	ours, err := readFile(file)
	if err != nil {
		return withHint(fmt.Errorf("--ca-file: %w", err), "give a file of certificates in PEM form: -----BEGIN CERTIFICATE-----")
	}
	if block, _ := pem.Decode(ours); block == nil || block.Type != "CERTIFICATE" || bytes.IndexByte(ours, 0) >= 0 {
		return withHint(fmt.Errorf("--ca-file %s holds no certificate", file), "give a file of certificates in PEM form: -----BEGIN CERTIFICATE-----")
	}
	theirs, err := bundleOf(tree)
	if err != nil {
		return withHint(fmt.Errorf("--ca-file: read the root's authorities: %w", err), "build the root anew: rootctl build")
	}
	// Copied: what a hostile root has there must not end the string that is written.
	all := bytes.ReplaceAll(theirs, []byte{0}, nil)
	if len(all) > 0 && all[len(all)-1] != '\n' {
		all = append(all, '\n')
	}
	s.Files = append(s.Files, runner.File{Path: "/" + caBundle, Data: append(all, ours...)})
	for _, name := range []string{"SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS"} {
		if !slices.ContainsFunc(s.Env, func(e string) bool { return strings.HasPrefix(e, name+"=") }) {
			s.Env = append(s.Env, name+"=/"+caBundle)
		}
	}
	return nil
}

// bundleOf reads the authorities of a root, through no link that leads out of it. None is an empty one.
func bundleOf(tree string) ([]byte, error) {
	root, err := os.OpenRoot(tree)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.OpenFile(caBundle, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() || st.Size() > maxBundle {
		return nil, fmt.Errorf("/%s is no plain file of at most 4 MiB", caBundle)
	}
	return io.ReadAll(io.LimitReader(f, maxBundle))
}
