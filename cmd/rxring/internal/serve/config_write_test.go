package serve

import (
	"fmt"
	"strings"

	"github.com/rxring/rxring/internal/size"
)

// writeConfig returns a file that Parse reads as c, but for lines.
func writeConfig(c *Config) string {
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
		writeRule(&c.Rules[i], line)
	}
	if c.Metrics.Network != "" {
		line("\n[metrics]\nlisten = %s", quote(c.Metrics.String()))
	}
	line("\n[log]\nformat = %q", map[bool]string{true: "json", false: "text"}[c.Log.JSON])
	line("level = %q", levelName(c.Log.Level))
	return b.String()
}

func writeRule(r *Rule, line func(string, ...any)) {
	list := func(key string, items []string) {
		if items != nil {
			line("%s = [%s]", key, strings.Join(items, ", "))
		}
	}
	list("users", each(r.Users, Principal.String))
	list("groups", each(r.Groups, Principal.String))
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
	line("page = %v", r.Page)
	line("status = %q", map[bool]string{true: "all", false: "own"}[r.AllStatus])
}

func each[T any](list []T, f func(T) string) (texts []string) {
	for _, v := range list {
		texts = append(texts, f(v))
	}
	return texts
}
