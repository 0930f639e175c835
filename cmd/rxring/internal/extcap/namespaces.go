package extcap

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rxring/rxring/cmd/rxring/internal/serve"
)

// namespace is a namespace that another process may offer at a unix socket.
type namespace struct {
	name string // "" for this user's rxring serve
	path string
}

// systemSocket is the socket of root's rxring serve.
const systemSocket = "/run/rxring.sock"

// namespaces returns the namespaces at well-known sockets, then those at others. Their names
// are unique. A socket may not exist.
func namespaces(others []string) []namespace {
	var all []namespace
	add := func(name, path string) {
		if slices.ContainsFunc(all, func(ns namespace) bool { return ns.path == path }) {
			return
		}
		unique := name
		for n := 2; slices.ContainsFunc(all, func(ns namespace) bool { return ns.name == unique }); n++ {
			unique = name + "-" + strconv.Itoa(n)
		}
		all = append(all, namespace{unique, path})
	}
	if own, err := serve.DefaultPath(); err == nil {
		add("", own)
	}
	add("system", systemSocket)
	for _, path := range others {
		add(strings.TrimSuffix(filepath.Base(path), ".sock"), path)
	}
	return all
}
