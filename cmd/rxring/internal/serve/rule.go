package serve

import (
	"cmp"
	"fmt"
	"path"
	"strings"

	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cbpf"
)

// Rule is an [[allow]]: the peers that it matches and what it grants them.
type Rule struct {
	Line int // in the file

	Users, Groups []Principal // it matches a peer that is one of the users or in one of the groups

	Devices    []string // names, with * and ? and [...]; nil: all
	Filter     string   // an expression; "": none
	FilterDDD  []cbpf.Instruction
	Headers    bool // snaplen = "headers": see Headers
	Snaplen    int  // bytes; 0: all
	MaxMemory  int64
	MaxSockets int
	Send       bool
	AllStatus  bool // status = "all"

	NoPromiscuous bool // promiscuous = false
	Page          bool // it is the rule of the page: see pageGrant

	selects []cbpf.Instruction // Filter's program, or FilterDDD
}

const (
	// maxSnaplen is tcpdump's snaplen for whole packets.
	maxSnaplen = 262144
	// maxSockets is far below the descriptors that a process may open.
	maxSockets = 4096
)

// readRule reads a table. The rule is valid if the document has no faults.
func readRule(t *table, res Resolver) Rule {
	r := Rule{Line: t.doc.line(t.path)}
	r.Users = items(t, "users", `users' names or numbers, or ["*"] for all`, func(v any) (Principal, error) {
		return readPrincipalOrAny(v, res.User, "user")
	})
	r.Groups = items(t, "groups", "groups' names or numbers", func(v any) (Principal, error) {
		return readPrincipal(v, res.Group, "group")
	})
	r.Page, _ = get[bool](t, "page", "true or false")
	if !t.has("users") && !t.has("groups") && !r.Page {
		t.doc.fault(t.path, `allow: it names no user or group: want users or groups, or users = ["*"] for all, or page = true`)
	}
	r.readLimits(t, res)
	if n, ok := t.integer("max_sockets", 1, maxSockets, fmt.Sprintf("1 to %d", maxSockets)); ok {
		r.MaxSockets = int(n)
	}
	r.Send, _ = get[bool](t, "send", "true or false")
	if s, ok := get[string](t, "status", `"own" or "all"`); ok {
		if r.AllStatus = s == "all"; s != "all" && s != "own" {
			t.fault("status", `%q: want "own" or "all"`, s)
		}
	}
	return r
}

// readLimits reads what rules of rxring serve and of rxring ship limit.
func (r *Rule) readLimits(t *table, res Resolver) {
	r.Devices = items(t, "devices", `devices' names, such as "eth0" or "wg*"`, func(v any) (string, error) {
		name, ok := v.(string)
		if _, err := path.Match(name, ""); !ok || name == "" || err != nil {
			return "", fmt.Errorf("%v: want a device's name, in which * stands for any characters, ? for one and [a-c] for one of them", v)
		}
		return name, nil
	})
	r.readFilter(t, res)
	r.readSnaplen(t)
	if r.Headers && r.selects != nil {
		if _, _, err := then(r.selects, Headers()); err != nil {
			t.fault(cmp.Or(t.given("filter"), "filter_ddd"), "%v", err)
		}
	}
	r.MaxMemory = t.size("max_memory")
	if promiscuous, ok := get[bool](t, "promiscuous", "true or false"); ok {
		r.NoPromiscuous = !promiscuous
	}
}

func (r *Rule) readFilter(t *table, res Resolver) {
	expr, ok := get[string](t, "filter", `an expression such as "tcp port 80"`)
	ddd, okDDD := get[string](t, "filter_ddd", "a program as tcpdump -ddd prints it")
	switch {
	case ok && strings.TrimSpace(expr) == "":
		t.fault("filter", "it is empty: want an expression such as \"tcp port 80\", or no filter for all packets")
	case ok && okDDD:
		t.fault("filter_ddd", "filter is set, too: want one of them")
	case ok:
		prog, err := res.Filter(expr)
		if err != nil {
			t.fault("filter", "%v", err)
		}
		r.Filter, r.selects = expr, prog
	case okDDD:
		prog, err := parseDDD(ddd)
		if err != nil {
			t.fault("filter_ddd", "%v", err)
		}
		r.FilterDDD, r.selects = prog, prog
	}
}

func (r *Rule) readSnaplen(t *table) {
	want := fmt.Sprintf(`"headers", or 1 to %d bytes`, maxSnaplen)
	if text, ok := t.values["snaplen"].(string); ok {
		t.known["snaplen"] = true
		if r.Headers = text == "headers"; !r.Headers {
			t.fault("snaplen", "%q: want %s", text, want)
		}
		return
	}
	n, _ := t.integer("snaplen", 1, maxSnaplen, want)
	r.Snaplen = int(n)
}

// matches reports whether the rule applies to a peer.
func (r *Rule) matches(p attach.Peer) bool {
	for _, u := range r.Users {
		if u.matches(p.UID) {
			return true
		}
	}
	for _, g := range r.Groups {
		if g.matches(p.GID) {
			return true
		}
		for _, id := range p.Groups {
			if g.matches(id) {
				return true
			}
		}
	}
	return false
}

// shows reports whether the rule grants a device of that name.
func (r *Rule) shows(device string) bool {
	if r.Devices == nil {
		return true
	}
	for _, pattern := range r.Devices {
		if ok, _ := path.Match(pattern, device); ok {
			return true
		}
	}
	return false
}
