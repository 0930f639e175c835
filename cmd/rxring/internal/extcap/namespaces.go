package extcap

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cmd/rxring/internal/serve"
)

// namespace is a namespace that another process may offer.
type namespace struct {
	name string // in names of interfaces; "" for this user's rxring serve
	at   string // as --at names it
	path string // of its socket, which may not exist; of a fleet, the source

	fleet bool
}

// systemSocket is the socket of root's rxring serve.
const systemSocket = "/run/rxring.sock"

// namespaces returns the namespaces at well-known sockets, those that this user's processes
// publish, and those of others: sockets, and fleets as nats://SERVER. Their names are unique.
func namespaces(others []string) []namespace {
	var all []namespace
	add := func(name, at, path string) {
		if slices.ContainsFunc(all, func(ns namespace) bool { return ns.path == path }) {
			return
		}
		unique := name
		for n := 2; slices.ContainsFunc(all, func(ns namespace) bool { return ns.name == unique }); n++ {
			unique = name + "-" + strconv.Itoa(n)
		}
		all = append(all, namespace{name: unique, at: at, path: path})
	}
	if own, err := serve.DefaultPath(); err == nil {
		add("", own, own)
	}
	add("system", systemSocket, systemSocket)
	published, _ := attach.ListPublished() // an unreadable directory publishes nothing
	count := make(map[string]int)
	for _, p := range published {
		count[p.Name]++
	}
	for _, p := range published {
		name := p.Name
		if count[name] > 1 {
			name = p.String()
		}
		add(name, name, p.Path)
	}
	for _, path := range others {
		if server, ok := fleetServer(path); ok {
			add(server, "nats://"+server, path)
			all[len(all)-1].fleet = true
			continue
		}
		add(strings.TrimSuffix(filepath.Base(path), ".sock"), path, path)
	}
	return all
}
