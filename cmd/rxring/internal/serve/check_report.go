package serve

import (
	"cmp"
	"fmt"
	"log/slog"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cmd/rxring/internal/feed"
	"github.com/rxring/rxring/internal/size"
)

// report describes a configuration in words.
type report struct {
	c      *Config
	groups func(uid uint32) []uint32

	daemon uint32 // the user that the socket's file belongs to
	group  uint32 // and its group, unless the file names one

	b       strings.Builder
	devices []string
}

func (r *report) line(label, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	fmt.Fprintf(&r.b, "%-13s %s\n", label, text)
}

func (r *report) text(path string, feeds []*feed.Feed) string {
	c := r.c
	if c.Group != nil {
		r.group = c.Group.ID
	}
	r.line("socket", "%s, of user %s and group %s, mode %04o: %s may connect", path, UserName(r.daemon), groupName(r.group), uint32(c.Mode), r.connecting())
	for _, f := range feeds {
		r.line("source", "%s: %s", f.Spec.String(), plural(len(f.Devices()), "device", "devices")+" "+f.Names())
		for _, d := range f.Devices() {
			r.devices = append(r.devices, d.Name())
		}
	}
	r.line("memory", "%s, of all users together", size.Format(c.MaxMemory))
	if c.Metrics.Network != "" {
		r.line("metrics", "%v", c.Metrics)
	}
	r.line("log", "%s, level %s", map[bool]string{true: "JSON", false: "text"}[c.Log.JSON], levelName(c.Log.Level))
	r.line("sandbox", "%s", map[bool]string{true: "on", false: "off"}[c.Sandbox])
	if c.Rules == nil {
		who := []string{"root"}
		if r.daemon != 0 {
			who = append(who, "user "+UserName(r.daemon))
		}
		fmt.Fprintf(&r.b, "\nThere are no rules: all devices and all packets are for %s, who may send, too. All others are refused.\n", and(who))
		return r.b.String()
	}
	for i := range c.Rules {
		r.rule(i)
	}
	fmt.Fprint(&r.b, "\n")
	if slices.ContainsFunc(c.Rules, func(o Rule) bool { return o.everybody() }) {
		fmt.Fprintln(&r.b, "The first rule that matches a user applies.")
	} else {
		fmt.Fprintln(&r.b, "The first rule that matches a user applies. All other users are refused, and so is root unless a rule names it.")
	}
	return r.b.String()
}

// connecting names the users that the socket's mode lets connect: those who may write.
func (r *report) connecting() string {
	if r.c.Mode&0o002 != 0 {
		return "everybody"
	}
	who := []string{"root"}
	if r.c.Mode&0o200 != 0 && r.daemon != 0 {
		who = append(who, "user "+UserName(r.daemon))
	}
	if r.c.Mode&0o020 != 0 {
		who = append(who, "group "+groupName(r.group))
	}
	return and(who)
}

// connects reports whether the socket's mode lets a user connect.
func (r *report) connects(uid uint32) bool {
	switch mode := r.c.Mode; {
	case uid == 0:
		return true
	case uid == r.daemon:
		return mode&0o200 != 0
	case slices.Contains(r.groups(uid), r.group):
		return mode&0o020 != 0
	default:
		return mode&0o002 != 0
	}
}

// rule describes a rule.
func (r *report) rule(i int) {
	rule := &r.c.Rules[i]
	var who []string
	for _, u := range rule.Users {
		who = append(who, u.user())
	}
	for _, g := range rule.Groups {
		who = append(who, "members of group "+g.group())
	}
	if rule.Page {
		who = append(who, "the page of --http")
	}
	fmt.Fprintf(&r.b, "\nrule %d (line %d): %s\n", i+1, rule.Line, and(who))
	line := func(label, format string, args ...any) {
		r.line("  "+label, format, args...)
	}
	line("devices", "%s", r.shown(rule))
	line("packets", "%s", rule.packets())
	line("send", "%s", map[bool]string{true: "yes: programs may send packets through these devices", false: "no"}[rule.Send])
	line("promiscuous", "%s", map[bool]string{true: "no: interfaces receive only packets that are addressed to this machine", false: "yes"}[rule.NoPromiscuous])
	line("memory", "%s for each user%s", size.Format(cmp.Or(rule.MaxMemory, attach.DefaultMaxMemory)), r.kept(i))
	line("sockets", "%d for each user", cmp.Or(rule.MaxSockets, attach.DefaultMaxSockets))
	line("status", "%s", map[bool]string{true: "of everybody's sockets", false: "of the user's own sockets"}[rule.AllStatus])
	for _, w := range r.warnings(i) {
		line("WARNING", "%s", w)
	}
}

// kept describes the memory that is reserved for users of whom this is the first rule.
func (r *report) kept(i int) string {
	shares, _ := r.c.reserve()
	var who []string
	share := int64(0)
	for _, u := range r.c.Rules[i].Users {
		before := slices.ContainsFunc(r.c.Rules[:i], func(o Rule) bool {
			return slices.ContainsFunc(o.Users, func(w Principal) bool { return !w.Any && w.ID == u.ID })
		})
		if !u.Any && !before {
			who, share = append(who, u.user()), shares[u.ID]
		}
	}
	if who == nil {
		return ""
	}
	each := plural(len(who), "", " each")
	return fmt.Sprintf("; kept for %s: %dMiB%s", and(who), share>>20, each)
}

// shown describes the devices that a rule shows.
func (r *report) shown(rule *Rule) string {
	if rule.Devices == nil {
		return "all"
	}
	var now []string
	for _, d := range r.devices {
		if rule.shows(d) {
			now = append(now, d)
		}
	}
	names := strings.Join(rule.Devices, ", ")
	switch {
	case now == nil:
		return names + " (now none)"
	case slices.Equal(now, rule.Devices):
		return names
	}
	return names + " (now " + strings.Join(now, ", ") + ")"
}

// packets describes the packets that a rule shows, and how much of each.
func (r *Rule) packets() string {
	which := "all"
	switch {
	case r.Filter != "":
		which = fmt.Sprintf("those that %q matches", r.Filter)
	case r.FilterDDD != nil:
		which = fmt.Sprintf("those that filter_ddd accepts (%s)", plural(len(r.FilterDDD), "1 instruction", fmt.Sprintf("%d instructions", len(r.FilterDDD))))
	}
	switch {
	case r.Headers:
		return which + ", of each the headers and no payload"
	case r.Snaplen > 0:
		return fmt.Sprintf("%s, of each %d bytes", which, r.Snaplen)
	}
	return which + ", whole"
}

func (r *Rule) everybody() bool {
	return slices.ContainsFunc(r.Users, func(w Principal) bool { return w.Any })
}

// user names a user in a sentence.
func (w Principal) user() string {
	if w.Any {
		return "everybody"
	}
	return "user " + UserName(w.ID)
}

// group names a group in a sentence.
func (w Principal) group() string { return groupName(w.ID) }

// groupName is a group's name with the number: pcap (111).
func groupName(gid uint32) string {
	id := strconv.FormatUint(uint64(gid), 10)
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name + " (" + id + ")"
	}
	return id
}

// and joins words.
func and(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func levelName(l slog.Level) string { return strings.ToLower(l.String()) }
