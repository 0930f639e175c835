package serve

import (
	"fmt"
	"slices"

	"github.com/rxring/rxring/attach"
)

// warnings describe the parts of rule i that have no effect.
func (r *report) warnings(i int) (all []string) {
	rule := &r.c.Rules[i]
	if len(r.devices) > 0 && rule.Devices != nil && !slices.ContainsFunc(r.devices, rule.shows) {
		all = append(all, "no source has a device of these names")
	}
	var taken []string
	before := 0
	note := func(who string, by int) {
		if by > 0 {
			taken = append(taken, who)
			before = by
		}
	}
	for _, u := range rule.Users {
		note(u.user(), r.userBefore(u, i))
	}
	for _, g := range rule.Groups {
		note("members of group "+g.group(), r.groupBefore(g, i))
	}
	named := len(rule.Users) + len(rule.Groups)
	if rule.Page {
		named++
		note("the page of --http", 1+slices.IndexFunc(r.c.Rules[:i], func(o Rule) bool { return o.Page }))
	}
	switch {
	case len(taken) == named:
		all = append(all, fmt.Sprintf("it never applies: rule %d, before it, matches all that it names", before))
	case taken != nil:
		all = append(all, fmt.Sprintf("it does not apply to %s: a rule before it does", and(taken)))
	}
	var out []string
	for _, u := range rule.Users {
		if !u.Any && !r.connects(u.ID) {
			out = append(out, u.user())
		}
	}
	for _, g := range rule.Groups {
		switch {
		case r.c.Mode&0o002 != 0:
		case r.c.Mode&0o020 == 0:
			out = append(out, "members of group "+g.group())
		case g.ID != r.group:
			out = append(out, "members of group "+g.group()+" who are not in group "+groupName(r.group))
		}
	}
	if rule.everybody() && r.c.Mode&0o002 == 0 {
		out = append(out, "everybody but "+r.connecting())
	}
	if out != nil {
		all = append(all, fmt.Sprintf("the socket's mode %04o keeps out %s: want a wider mode, or another group", uint32(r.c.Mode), and(out)))
	}
	return all
}

// userBefore returns the number of the first rule before rule i that matches a user, or 0.
func (r *report) userBefore(w Principal, i int) int {
	return 1 + slices.IndexFunc(r.c.Rules[:i], func(o Rule) bool {
		if w.Any {
			return o.everybody()
		}
		return o.matches(attach.Peer{UID: w.ID, GID: noGroup, Groups: r.groups(w.ID)})
	})
}

// groupBefore returns the number of the first rule before rule i that matches a group, or 0.
func (r *report) groupBefore(w Principal, i int) int {
	return 1 + slices.IndexFunc(r.c.Rules[:i], func(o Rule) bool {
		return o.everybody() || slices.ContainsFunc(o.Groups, func(g Principal) bool { return g.matches(w.ID) })
	})
}

// noGroup is no group's number.
const noGroup = 1<<32 - 1
