export PROJECT=example
