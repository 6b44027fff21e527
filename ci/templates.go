// Package ci has the files by which CI systems run steps in roots, as `rootctl ci init` writes them and as they can be taken
// from here. In each stands Roots once, where the names of the roots belong.
package ci

import _ "embed"

// Roots are the names that the files have.
const Roots = `["bionic", "noble"]`

// GitHub is a workflow that calls the action of action.yml.
//
//go:embed github.yml
var GitHub string

// GitLab is a job of a shell executor's.
//
//go:embed gitlab.yml
var GitLab string
