package debootstrap

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/rootctl/rootctl/internal/cache"
)

// The tables below name every field from which a build is made, and the keys that see it: q the request's, 1 the
// selection's, 2 the root's. A field that is added later is in no table, and the test fails until somebody has thought
// about it. "" is for what may not change a root: where from, by whom, under whose signature, how quickly.
var requestFields = map[string]string{
	"Suite.Codename":                  "q12",
	"Suite.Aliases[]":                 "",
	"Suite.Role":                      "",
	"Suite.Family":                    "", // which mirror has which pocket
	"Suite.Version":                   "",
	"Suite.Title":                     "",
	"Suite.EOL":                       "",
	"Suite.Archived":                  "2", // options in sources.list
	"Suite.Snapshot":                  "",
	"Suite.Mirrors[]":                 "2", // sources.list has the public mirror, whichever is asked
	"Suite.Archives[]":                "",
	"Suite.Components[]":              "", // normalize copies them
	"Suite.Keyrings[]":                "",
	"Suite.Pockets[].Name":            "2", // updates and security are in sources.list
	"Suite.Pockets[].Suite":           "2",
	"Suite.Pockets[].Mirrors[]":       "2",
	"Suite.Pockets[].Archives[]":      "",
	"Suite.Rules.Merged":              "2",
	"Suite.Rules.UnmergedVariants[]":  "2",
	"Suite.Rules.StagedVariants[]":    "2",
	"Suite.Rules.ExtraRequired[]":     "1", // acts through the packages
	"Suite.Rules.DropDepends[]":       "1",
	"Suite.Rules.HTTPSPackages[]":     "", // where a mirror is https: TestResolveKeyCovers
	"Suite.Rules.RootOrderMod":        "2",
	"Suite.Rules.LastRequiredDirMode": "2",
	"Suite.Rules.Devfsd":              "2",
	"Suite.Rules.DeviceTable":         "2",
	"Suite.Rules.Initctl":             "2",
	"Suite.Rules.SkipUsrmergeMarker":  "2",
	"Variant":                         "q12",
	"Arch":                            "q12",
	"Pockets[]":                       "q1",
	"Components[]":                    "q12", // in sources.list, too
	"Include[]":                       "q12", // roots with further packages are configured in stages
	"Exclude[]":                       "q1",
	"Epoch":                           "q2",
	"Mirrors[].URL":                   "",
	"Mirrors[].Pocket":                "",
	"Mirrors[].From":                  "",
	"OnlyThese":                       "",
	"KeepMirror":                      "q2",
	"Keyring[][]":                     "q", // the last root of a request is not that of other keys
	"NoVerify":                        "q",
	"AllowExpired":                    "",
	"AllowOlder":                      "",
	"Offline":                         "",
	"Fresh":                           "",
	"CheckUpdates":                    "",
	"At":                              "q", // what the archive had then is seen by its indices
	"Snapshot":                        "",
	"Check":                           "", // twice the same
	"Tag":                             "",
	"Parent":                          "q", // acts through the Lock's

	"Added.Files[].Path":           "q2",
	"Added.Files[].Sum":            "q2",
	"Added.Files[].Mode":           "q2",
	"Added.Files[].Owner":          "q2",
	"Added.Files[].Content[]":      "q2",
	"Added.Hooks[].When":           "q2",
	"Added.Hooks[].Name":           "", // a script may be called otherwise
	"Added.Hooks[].Script[]":       "q2",
	"Added.Hooks[].ScriptSum":      "q2",
	"Added.Hooks[].EnvSum":         "",
	"Added.Hooks[].Env[]":          "q2",
	"Added.Hooks[].Network":        "q2",
	"Added.Sources[].Name":         "q12",
	"Added.Sources[].URL":          "q2", // the list of the root's apt
	"Added.Sources[].Suite":        "q2",
	"Added.Sources[].Components[]": "q2", // and the selection's by the indices
	"Added.Sources[].Packages[]":   "q1",
	"Added.Sources[].Key[]":        "q2",
	"Added.Salt":                   "q2",
	"kept[]":                       "", // under KeepMirror alone
}

var lockFields = map[string]string{
	"Schema":                    "", // a Lock of another schema is refused
	"Suite":                     "2",
	"Variant":                   "2",
	"Arch":                      "2",
	"Merged":                    "2",
	"Staged":                    "2",
	"Rules.Merged":              "2",
	"Rules.UnmergedVariants[]":  "2",
	"Rules.StagedVariants[]":    "2",
	"Rules.ExtraRequired[]":     "",
	"Rules.DropDepends[]":       "",
	"Rules.HTTPSPackages[]":     "",
	"Rules.RootOrderMod":        "2",
	"Rules.LastRequiredDirMode": "2",
	"Rules.Devfsd":              "2",
	"Rules.DeviceTable":         "2",
	"Rules.Initctl":             "2",
	"Rules.SkipUsrmergeMarker":  "2",
	"Releases[].Pocket":         "",
	"Releases[].Suite":          "",
	"Releases[].Origin":         "",
	"Releases[].Codename":       "",
	"Releases[].Mirror":         "",
	"Releases[].Date":           "",
	"Releases[].Digest":         "",
	"Releases[].Signers[]":      "",
	"Releases[].KeysExpired":    "", // acts through Files
	"Releases[].Exceptions[]":   "",
	"Releases[].Unverified":     "",
	"Packages[].Name":           "2",
	"Packages[].Version":        "2",
	"Packages[].Arch":           "2",
	"Packages[].Pocket":         "",
	"Packages[].Path":           "", // in the paragraph, if anywhere
	"Packages[].Size":           "", // the digest says more
	"Packages[].SHA256":         "2",
	"Packages[].Required":       "2",
	"Packages[].Priority":       "", // in the paragraph
	"Packages[].Section":        "",
	"Packages[].Stanza":         "2",
	"Packages[].Order":          "", // that of the list is seen
	"Files[].Path":              "2",
	"Files[].Mode":              "2",
	"Files[].Content":           "2",
	"Epoch":                     "2",
	"Added[].Path":              "2",
	"Added[].Sum":               "2",
	"Added[].Mode":              "2",
	"Added[].Owner":             "2",
	"Added[].Content[]":         "2",
	"Hooks[].When":              "2",
	"Hooks[].Name":              "",
	"Hooks[].Script[]":          "2",
	"Hooks[].ScriptSum":         "2",
	"Hooks[].EnvSum":            "", // together with ScriptSum alone
	"Hooks[].Env[]":             "2",
	"Hooks[].Network":           "2",
	"Salt":                      "2",
	"Parent":                    "2",
	"Unshared":                  "2",
}

// What a Builder and Install work with beside the request and the Lock. None of it may change the bytes: not the cache's
// place, the mirror's rate, the number of processors, the clock (TestInstallOnAnotherDay) or the id mode (TestRootless).
var surroundings = map[string][]string{
	"Builder":        {"Store", "Client", "Suites", "Exec", "Now", "Log", "Progress", "Owners", "CanBuild", "Fit", "Remote", "Guard", "Witness"},
	"InstallOptions": {"Tree", "Open", "Exec", "Log", "Progress", "Owners", "Unvouched", "Workers", "Unpacked", "Base"},
}

func TestEveryFieldIsJudged(t *testing.T) {
	index := []indexInput{{"release", "main", "amd64", cache.Digest(strings.Repeat("ab", 32))}}
	keysOf := func(r Request) map[string]cache.Digest {
		releases := []LockRelease{{Pocket: "release"}}
		return map[string]cache.Digest{"q": requestKey(r).Key, "1": resolveKey(r, index).Key, "2": rootKey(r.lock(closure{}, releases)).Key}
	}
	request := func() *Request {
		r := keyRequest(t)
		r.Mirrors = []Mirror{{URL: "http://m.example", From: "--mirror"}}
		r.Added = Additions{Files: []AddedFile{{Path: "/x"}}, Hooks: []Hook{{When: HookCustomize, Network: "none"}}, Sources: []Source{{}}}
		r.kept = map[string]string{"release": "http://m.example"}
		return &r
	}
	base := keysOf(*request())
	got := make(map[string]string)
	eachField(request, func(path string, r *Request) {
		got[path] = whichDiffer(base, keysOf(*r))
	})
	if d := cmp.Diff(requestFields, got); d != "" {
		t.Errorf("keys by field of the request (-want +got):\n%s", d)
	}

	lock := func() *Lock {
		l := keyLock(*request())
		l.Releases[0].Signers = []string{"x"}
		return l
	}
	was := map[string]cache.Digest{"2": rootKey(lock()).Key}
	got = make(map[string]string)
	eachField(lock, func(path string, l *Lock) {
		got[path] = whichDiffer(was, map[string]cache.Digest{"2": rootKey(l).Key})
	})
	if d := cmp.Diff(lockFields, got); d != "" {
		t.Errorf("keys by field of the Lock (-want +got):\n%s", d)
	}

	for _, v := range []any{Builder{}, InstallOptions{}} {
		var names []string
		for f := range reflect.TypeOf(v).NumField() {
			names = append(names, reflect.TypeOf(v).Field(f).Name)
		}
		name := reflect.TypeOf(v).Name()
		if d := cmp.Diff(surroundings[name], names); d != "" {
			t.Errorf("fields of %s; can the new ones change a root's bytes? (-want +got):\n%s", name, d)
		}
	}
}

// TestInputsHaveEveryField flips each field of the inputs themselves: none is left out of the text that is hashed.
func TestInputsHaveEveryField(t *testing.T) {
	checkInput(t, func() *requestInput {
		return &requestInput{Sources: []askedSource{{}}, Added: []addedInput{{}}, Hooks: []hookInput{{}}}
	})
	checkInput(t, func() *resolveInput { return &resolveInput{Indices: []indexInput{{}}, Sources: []sourceInput{{}}} })
	checkInput(t, func() *rootInput {
		return &rootInput{Packages: []packageInput{{}}, Files: []fileInput{{}}, Added: []addedInput{{}}, Hooks: []hookInput{{}}}
	})
}

func checkInput[T any](t *testing.T, fresh func() *T) {
	n := 0
	eachField(fresh, func(path string, v *T) {
		n++
		if keyOf(*v).Key == keyOf(*fresh()).Key {
			t.Errorf("%T: %s is not in the key", v, path)
		}
	})
	if n < 13 {
		t.Errorf("%T: only %d fields", fresh(), n)
	}
}

func whichDiffer(a, b map[string]cache.Digest) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(a)) {
		if a[k] != b[k] {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(x, y string) int { return strings.Index("q12", x) - strings.Index("q12", y) })
	return strings.Join(out, "")
}

// eachField calls f with the path of every field below what fresh makes, and that one with the field flipped.
// Elements of lists and maps are [].
func eachField[T any](fresh func() *T, f func(path string, v *T)) {
	var leaves []string
	walkFields(reflect.ValueOf(fresh()).Elem(), "", func(path string, _ reflect.Value) { leaves = append(leaves, path) })
	for _, leaf := range leaves {
		v := fresh()
		found := false
		walkFields(reflect.ValueOf(v).Elem(), "", func(path string, field reflect.Value) {
			if path == leaf && !found {
				found = true
				flip(field)
			}
		})
		f(leaf, v)
	}
}

// walkFields visits the leaves. Of a list it goes into the first element if that is a struct; a list of other things is
// a leaf, and flipping it adds to it.
func walkFields(v reflect.Value, path string, visit func(path string, v reflect.Value)) {
	if !v.CanSet() { // a field that is not exported
		v = reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem()
	}
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			walkFields(v.Field(i), strings.TrimPrefix(path+"."+v.Type().Field(i).Name, "."), visit)
		}
		return
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		if v.Len() == 0 {
			panic(fmt.Sprintf("%s is empty: give the base an element", path))
		}
		walkFields(v.Index(0), path+"[]", visit)
		return
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Slice:
		path += "[][]"
	case v.Kind() == reflect.Slice, v.Kind() == reflect.Map:
		path += "[]"
	}
	visit(path, v)
}

func flip(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "flipped")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Uint32:
		v.SetUint(v.Uint() + 1)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Slice:
		e := reflect.New(v.Type().Elem()).Elem()
		if e.Kind() == reflect.String {
			e.SetString("*") // which in lists of variants means all
		} else {
			flip(e)
		}
		s := reflect.MakeSlice(v.Type(), 0, 1)
		v.Set(reflect.AppendSlice(reflect.Append(s, e), v))
	case reflect.Map:
		m := reflect.MakeMap(v.Type())
		e := reflect.New(v.Type().Elem()).Elem()
		flip(e)
		m.SetMapIndex(reflect.ValueOf("default"), e)
		v.Set(m)
	case reflect.Uint8:
		v.SetUint(v.Uint() + 1)
	case reflect.Struct:
		v.Set(reflect.ValueOf(time.Unix(1, 0)))
	default:
		panic("flip " + v.Kind().String())
	}
}
