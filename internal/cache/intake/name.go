package intake

import "strings"

// clean gives a name of an archive the form that an Entry's Path has. "." parts and double slashes mean nothing, as to
// tar. What only an archive that aims outside has is an error: nothing is guessed or cut off.
func clean(name string) (string, error) {
	switch {
	case name == "":
		return "", refuse("it has no name")
	case name[0] == '/':
		return "", refuse("its name is absolute")
	case strings.IndexByte(name, 0) >= 0:
		return "", refuse("its name holds a NUL")
	case len(name) > 2*4096:
		return "", refuse("its name has %d bytes", len(name))
	}
	if tidy(name) {
		return checkDepth(name)
	}
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		switch part {
		case "", ".":
		case "..":
			return "", refuse("its name leads upwards")
		default:
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		return ".", nil
	}
	return checkDepth(strings.Join(parts, "/"))
}

// tidy reports whether name has no part that clean would have to look at.
func tidy(name string) bool {
	return name[0] != '.' && name[len(name)-1] != '/' && !strings.Contains(name, "//") && !strings.Contains(name, "/.")
}

func checkDepth(path string) (string, error) {
	if n := strings.Count(path, "/"); n >= maxDepth {
		return "", refuse("it lies %d folders deep", n)
	}
	return path, nil // its length and its parts' are the manifest's business
}

// split cuts a path in its directory and its last part.
func split(path string) (dir, base string) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return ".", path
}
