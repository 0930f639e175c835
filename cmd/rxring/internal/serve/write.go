package serve

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/rxring/rxring/internal/size"
)

// String is a file that says the same as c: Parse of it is c again, but for lines.
func (c *Config) String() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	if c.At != "" {
		line("at = %s", quote(c.At))
	}
	line(`mode = "%04o"`, uint32(c.Mode))
	if c.Group != nil {
		line("group = %v", *c.Group)
	}
	line("max_memory = %s", quote(size.Format(c.MaxMemory)))
	if c.User != nil {
		line("user = %v", *c.User)
	}
	line("sandbox = %v", c.Sandbox)
	for _, s := range c.Sources {
		line("\n[[source]]\nfrom = %s", quote(s.String()))
	}
	for i := range c.Rules {
		line("\n[[allow]]")
		c.Rules[i].write(line)
	}
	if c.Metrics.Network != "" {
		line("\n[metrics]\nlisten = %s", quote(c.Metrics.String()))
	}
	line("\n[log]\nformat = %q", map[bool]string{true: "json", false: "text"}[c.Log.JSON])
	line("level = %q", levelName(c.Log.Level))
	return b.String()
}

func (r *Rule) write(line func(string, ...any)) {
	list := func(key string, items []string) {
		if items != nil {
			line("%s = [%s]", key, strings.Join(items, ", "))
		}
	}
	list("users", each(r.Users, Who.String))
	list("groups", each(r.Groups, Who.String))
	list("devices", each(r.Devices, quote))
	if r.Filter != "" {
		line("filter = %s", quote(r.Filter))
	}
	if r.FilterDDD != nil {
		line("filter_ddd = '''\n%s'''", formatDDD(r.FilterDDD))
	}
	switch {
	case r.Headers:
		line(`snaplen = "headers"`)
	case r.Snaplen > 0:
		line("snaplen = %d", r.Snaplen)
	}
	if r.MaxMemory > 0 {
		line("max_memory = %s", quote(size.Format(r.MaxMemory)))
	}
	if r.MaxSockets > 0 {
		line("max_sockets = %d", r.MaxSockets)
	}
	line("send = %v", r.Send)
	line("promiscuous = %v", !r.NoPromiscuous)
	line("status = %q", map[bool]string{true: "all", false: "own"}[r.AllStatus])
}

func each[T any](list []T, f func(T) string) (texts []string) {
	for _, v := range list {
		texts = append(texts, f(v))
	}
	return texts
}

// quote writes a TOML string.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func levelName(l slog.Level) string { return strings.ToLower(l.String()) }
