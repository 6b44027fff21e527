// registry is distribution's, with the storage and the logins that the tests use and without clouds, which take a minute to compile.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
)

func main() {
	conf, err := configuration.Parse(os.Stdin)
	if err == nil {
		var r *registry.Registry
		if r, err = registry.NewRegistry(context.Background(), conf); err == nil {
			err = r.ListenAndServe()
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
