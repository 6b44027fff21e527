package main

import (
	"bytes"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// notices are the licences of all modules that are part of the program, and of Go: most ask that their text goes with
// the binary.
func (p *product) notices() ([]byte, error) {
	info, err := buildinfo.ReadFile(p.program)
	if err != nil {
		return nil, err
	}
	dirs, err := moduleDirs()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	add := func(name, dir string) error {
		files, err := filepath.Glob(filepath.Join(dir, "[LNC][IO][CTP][EIY]*")) // LICENSE, LICENCE, NOTICE, COPYING
		if err != nil || len(files) == 0 {
			return errors.Join(fmt.Errorf("%s: no licence in its folder", name), err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%s: %s\n\n%s\n\n", name, filepath.Base(file), bytes.TrimSpace(text))
		}
		return nil
	}
	root, err := goCommand("env", "GOROOT")
	if err != nil {
		return nil, err
	}
	if err := add("Go "+strings.TrimPrefix(info.GoVersion, "go"), strings.TrimSpace(root)); err != nil {
		return nil, err
	}
	for _, m := range info.Deps {
		if err := add(m.Path+" "+m.Version, dirs[m.Path]); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// moduleDirs says where the module cache has each module.
func moduleDirs() (map[string]string, error) {
	out, err := goCommand("list", "-m", "-f", "{{.Path}}\t{{.Dir}}", "all")
	if err != nil {
		return nil, err
	}
	dirs := map[string]string{}
	for line := range strings.Lines(out) {
		path, dir, _ := strings.Cut(strings.TrimSpace(line), "\t")
		dirs[path] = dir
	}
	return dirs, nil
}

func goCommand(args ...string) (string, error) {
	c := exec.Command("go", args...)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w", args[0], err)
	}
	return string(out), nil
}
