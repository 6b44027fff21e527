package registry

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// dockerConfig is what of ~/.docker/config.json speaks of logins.
type dockerConfig struct {
	Auths map[string]struct {
		Auth     string `json:"auth"`
		Username string `json:"username"`
		Password string `json:"password"`
		Identity string `json:"identitytoken"`
		Token    string `json:"registrytoken"`
	} `json:"auths"`
	Store   string            `json:"credsStore"`
	Helpers map[string]string `json:"credHelpers"`
}

// A Helper runs docker-credential-NAME get with host on its standard input, and returns what it writes, bounded.
type Helper func(ctx context.Context, program, host string) ([]byte, error)

// helperName holds for what may be a part of a program's name, and no path.
func helperName(s string) bool {
	return s != "" && len(s) <= 64 && s[0] != '.' && s[0] != '-' &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == ""
}

// DockerLogin finds logins as Docker's configuration file says: a host's helper, else the helper of all, else what stands
// in the file. No error has anything of a login in it.
func DockerLogin(file []byte, run Helper) (func(ctx context.Context, host string) (Login, error), error) {
	var c dockerConfig
	if len(bytes.TrimSpace(file)) > 0 {
		if err := json.Unmarshal(file, &c); err != nil {
			return nil, errors.New("it is no JSON") // whose error may quote a password
		}
	}
	return func(ctx context.Context, host string) (Login, error) {
		for _, name := range hostNames(host) {
			if h := c.Helpers[name]; h != "" {
				return helped(ctx, run, h, name)
			}
		}
		if c.Store != "" {
			for _, name := range hostNames(host) {
				if l, err := helped(ctx, run, c.Store, name); err != nil || l != (Login{}) {
					return l, err
				}
			}
		}
		for key, a := range c.Auths {
			if !slices.Contains(hostNames(host), hostOf(key)) && !slices.Contains(hostNames(host), key) {
				continue
			}
			l := Login{User: a.Username, Password: a.Password, Identity: a.Identity, Token: a.Token}
			if a.Auth != "" {
				plain, err := base64.StdEncoding.DecodeString(a.Auth)
				user, password, ok := strings.Cut(strings.TrimRight(string(plain), "\x00"), ":")
				if err != nil || !ok {
					return Login{}, fmt.Errorf("the entry of %s in Docker's configuration cannot be read", clip(host))
				}
				l.User, l.Password = user, password
			}
			return l, nil
		}
		return Login{}, nil
	}, nil
}

// hostNames are the names that a registry may have in the file.
func hostNames(host string) []string {
	if host == "registry-1.docker.io" || host == "docker.io" {
		return []string{"https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io"}
	}
	return []string{host, "https://" + host}
}

func hostOf(key string) string {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	host, _, _ := strings.Cut(key, "/")
	return host
}

func helped(ctx context.Context, run Helper, name, host string) (Login, error) {
	if !helperName(name) {
		return Login{}, errors.New("docker's configuration names a credential helper by no name of a program")
	}
	out, err := run(ctx, "docker-credential-"+name, host)
	if strings.Contains(string(out), "credentials not found") {
		return Login{}, nil
	}
	if err != nil {
		return Login{}, fmt.Errorf("docker-credential-%s: %w", name, err)
	}
	var said struct{ Username, Secret string }
	if json.Unmarshal(out, &said) != nil {
		return Login{}, fmt.Errorf("docker-credential-%s answers something else than a login", name)
	}
	if said.Username == "<token>" {
		return Login{Identity: said.Secret}, nil
	}
	return Login{User: said.Username, Password: said.Secret}, nil
}
