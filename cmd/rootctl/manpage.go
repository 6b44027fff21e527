package main

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A page is a man page of section 1 being written, in the macros of man(7) that groff and mandoc share.
type page struct{ bytes.Buffer }

// manPage is the page of one verb. Its date is the commit's, so that equal sources make equal pages.
func manPage(c *cobra.Command) []byte {
	v := newVersions()
	p := &page{}
	fmt.Fprintf(p, ".TH %s 1 %s \"rootctl %s\" \"rootctl\"\n", roff(strings.ToUpper(pageName(c))), time.Unix(v.Epoch, 0).UTC().Format(time.DateOnly), roff(v.Version))
	p.section("NAME")
	fmt.Fprintf(p, "%s \\- %s\n", roff(pageName(c)), roff(c.Short))
	p.section("SYNOPSIS")
	for _, line := range uses(c) {
		fmt.Fprintf(p, ".B %s\n.br\n", roff(line))
	}
	p.section("DESCRIPTION")
	p.text(orElse(c.Long, strings.ToUpper(c.Short[:1])+c.Short[1:]+"."))
	p.verbs(c)
	p.flags("OPTIONS", c.NonInheritedFlags())
	p.flags("OPTIONS OF ALL VERBS", c.InheritedFlags())
	if c.Example != "" {
		p.section("EXAMPLES")
		p.example(strings.Split(c.Example, "\n"))
	}
	p.section("EXIT STATUS")
	p.text(exitText(c))
	p.section("SEE ALSO")
	p.related(c)
	return p.Bytes()
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// uses are the ways to call a verb: its usage line, or for several ways one line each.
func uses(c *cobra.Command) (lines []string) {
	before := ""
	if c.HasParent() {
		before = c.Parent().CommandPath() + " "
	}
	word := c.Name() + " "
	for i, way := range strings.Split(c.UseLine(), " | -") {
		if i > 0 {
			way = before + word + "-" + way
		}
		lines = append(lines, way)
	}
	return lines
}

func exitText(c *cobra.Command) string {
	if c.Name() == "run" || c.Name() == "exec" {
		return "That of the command, 128 and the signal's number if a signal ended it. 125 if rootctl itself fails, 126 if the command cannot be executed, 127 if it is not there, 124 after --timeout."
	}
	return "0; 1 on failure; 2 on wrong usage; 3 if something is not to be trusted; 4 if something is not there or cannot be reached."
}

func (p *page) section(title string) { fmt.Fprintf(p, ".SH %s\n", title) }

// text writes paragraphs; indented lines stay as they are.
func (p *page) text(s string) {
	var kept []string
	flush := func() {
		if kept != nil {
			p.example(kept)
			p.WriteString(".PP\n")
		}
		kept = nil
	}
	for _, line := range strings.Split(strings.TrimSpace(s), "\n") {
		switch {
		case strings.HasPrefix(line, " "):
			kept = append(kept, line)
			continue
		case line == "":
			flush()
			p.WriteString(".PP\n")
		default:
			flush()
			p.WriteString(roff(line) + "\n")
		}
	}
	flush()
}

func (p *page) example(lines []string) {
	p.WriteString(".PP\n.RS 4\n.EX\n")
	for _, line := range lines {
		p.WriteString(roff(strings.TrimPrefix(line, "  ")) + "\n")
	}
	p.WriteString(".EE\n.RE\n")
}

// verbs lists those below c, under their headings.
func (p *page) verbs(c *cobra.Command) {
	if !c.HasAvailableSubCommands() {
		return
	}
	p.section("VERBS")
	list := func(group string) {
		for _, sub := range c.Commands() {
			if sub.GroupID == group && sub.IsAvailableCommand() && sub.Name() != "help" {
				fmt.Fprintf(p, ".TP\n.B %s\n%s\n", roff(sub.Name()), roff(sub.Short))
			}
		}
	}
	list("")
	for _, g := range c.Groups() {
		fmt.Fprintf(p, ".SS %s\n", roff(strings.TrimSuffix(g.Title, ":")))
		list(g.ID)
	}
}

func (p *page) flags(title string, set *pflag.FlagSet) {
	first := true
	set.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Deprecated != "" {
			return
		}
		if first {
			p.section(title)
			first = false
		}
		name, usage := pflag.UnquoteUsage(f)
		word := "\\fB" + roff("--"+f.Name) + "\\fR"
		if f.Shorthand != "" {
			word = "\\fB" + roff("-"+f.Shorthand) + "\\fR, " + word
		}
		switch {
		case name == "":
		case f.NoOptDefVal != "":
			word += "[=\\fI" + roff(name) + "\\fR]"
		default:
			word += " \\fI" + roff(name) + "\\fR"
		}
		if d := f.DefValue; d != "" && d != "false" && d != "[]" && d != "0" && d != "0s" && !strings.Contains(usage, "(default") {
			usage += " (default " + d + ")"
		}
		fmt.Fprintf(p, ".TP\n%s\n%s\n", word, roff(usage))
	})
}

func (p *page) related(c *cobra.Command) {
	var pages []string
	if c.HasParent() {
		pages = append(pages, pageName(c.Parent()))
	}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			pages = append(pages, pageName(sub))
		}
	}
	for i, name := range pages {
		comma := ","
		if i == len(pages)-1 {
			comma = ""
		}
		fmt.Fprintf(p, ".BR %s (1)%s\n", roff(name), comma)
	}
}

// roff escapes a line of text: no character of it is a request, and a hyphen stays one that can be copied.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, `"`, `\(dq`).Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s
}
