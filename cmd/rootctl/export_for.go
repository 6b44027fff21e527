package main

// The tools that --for knows.
const (
	toolSbuild   = "sbuild"
	toolPbuilder = "pbuilder"
	toolSchroot  = "schroot"
)
