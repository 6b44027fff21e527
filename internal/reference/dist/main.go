// Command dist packs what `make dist` has built as a .deb. The bytes depend on its inputs alone: neither the host's dpkg
// and compressors nor its clock, users or umask come into it.
//
//	dist --version 1.2.3 --epoch 1700000000 --arch arm64 --program FILE --manual FOLDER -o FILE.deb
package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"time"
)

func main() {
	var p product
	var epoch int64
	var out string
	flag.StringVar(&p.version, "version", "", "Debian version")
	flag.Int64Var(&epoch, "epoch", 0, "time of all files, in seconds since 1970")
	flag.StringVar(&p.arch, "arch", "", "Debian architecture")
	flag.StringVar(&p.program, "program", "", "rootctl, built")
	flag.StringVar(&p.manual, "manual", "", "what rootctl manual wrote")
	flag.StringVar(&p.revision, "revision", "", "the commit")
	flag.StringVar(&out, "o", "", "file to write")
	flag.Parse()
	p.time = time.Unix(epoch, 0).UTC()
	b, err := p.deb()
	if err == nil {
		err = os.WriteFile(out, b, 0o644)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "dist: pack %s: %v\n", cmp.Or(out, "a .deb"), err)
		os.Exit(1)
	}
}
