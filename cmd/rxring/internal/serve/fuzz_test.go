package serve

import (
	"path"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/size"
)

// FuzzConfig: what Parse accepts, it accepts again as String writes it; and nobody is
// granted more than what the file says, read by somebody else.
func FuzzConfig(f *testing.F) {
	f.Add([]byte(everything))
	f.Add([]byte("[[allow]]\nusers = ['*']\nsnaplen = 'headers'\nfilter = 'tcp'\n[[allow]]\ngroups=[2000, 'staff']\nsend=true"))
	f.Add([]byte("allow = [{users = [1000], devices = ['e*', '[a-c]?']}, {groups = ['pcap'], status = 'all', max_memory = '1KiB'}]"))
	f.Add([]byte("[metrics]\nlisten = 'unix:/m'\n[[source]]\nfrom = 'a=file:x,,y,speed=2,loop'"))
	f.Add([]byte("\"mode\" = \"\"\"777\"\"\"\nlog.level = 'warn'\n[[allow]]\nusers = ['alice']\nfilter_ddd = '1,6 0 0 5'\n"))
	f.Add([]byte("[[allow]]\nusers = ['*']\nfilter = ''\nsnaplen = 'headers'"))
	res := here
	res.Filter = func(expr string) ([]cbpf.Instruction, error) { // no libpcap, which asks for hosts' addresses
		return []cbpf.Instruction{{Op: cbpf.OpRetK, K: uint32(len(expr))}}, nil
	}
	var devices []*rxring.Device
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	for _, name := range []string{"eth0", "wg0", "lan", "a"} {
		d, err := ns.AddDevice(rxring.DeviceConfig{Name: name})
		if err != nil {
			f.Fatal(err)
		}
		devices = append(devices, d)
	}
	peers := []attach.Peer{
		{}, {UID: 1000, GID: 1000}, {UID: 1001, GID: 2000}, {UID: 7, GID: 7, Groups: []uint32{2001}}, {UID: 7, GID: 2001, Groups: []uint32{2000, 5}}, {UID: 8, GID: 8},
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f", data, res)
		if err != nil {
			return
		}
		written := writeConfig(c)
		again, err := Parse("again", []byte(written), res)
		if err != nil {
			t.Fatalf("%v\n%s", err, written)
		}
		if d := cmp.Diff(c, again, parsed); d != "" {
			t.Fatalf("%s\n%s", written, d)
		}
		var file struct {
			Allow []map[string]any `toml:"allow"`
		}
		if err := toml.Unmarshal(data, &file); err != nil {
			t.Fatal(err)
		}
		if file.Allow == nil {
			return // TestWithoutRules
		}
		for _, p := range peers {
			g, err := c.Grant(p)
			i := slices.IndexFunc(file.Allow, func(r map[string]any) bool { return says(r, p) })
			if (err != nil) != (i < 0) {
				t.Fatalf("%+v: rule %d of the file, %v", p, i, err)
			}
			if err == nil {
				checkGrant(t, file.Allow[i], g, devices)
			}
		}
	})
}

// says is whether a rule names the peer.
func says(rule map[string]any, p attach.Peer) bool {
	is := func(v any, lookup func(string) (string, error), ids ...uint32) bool {
		for _, id := range ids {
			switch v := v.(type) {
			case int64:
				if v == int64(id) {
					return true
				}
			case string:
				if text, err := lookup(v); err == nil && text == strconv.Itoa(int(id)) {
					return true
				}
			}
		}
		return false
	}
	users, _ := rule["users"].([]any)
	for _, u := range users {
		if u == "*" || is(u, here.User, p.UID) {
			return true
		}
	}
	groups, _ := rule["groups"].([]any)
	for _, g := range groups {
		if is(g, here.Group, append([]uint32{p.GID}, p.Groups...)...) {
			return true
		}
	}
	return false
}

// checkGrant fails if the grant is more than what the rule says.
func checkGrant(t *testing.T, rule map[string]any, g attach.Grant, devices []*rxring.Device) {
	t.Helper()
	if promiscuous, ok := rule["promiscuous"].(bool); g.Socket.NoPromiscuous != (ok && !promiscuous) {
		t.Error("another promiscuous mode than the rule's")
	}
	if send, _ := rule["send"].(bool); !g.Socket.NoSend && !send {
		t.Errorf("%v: may send", rule)
	}
	if all := rule["status"] == "all"; g.AllStatus && !all {
		t.Errorf("%v: sees everybody's status", rule)
	}
	if n, ok := rule["max_sockets"].(int64); ok && (g.MaxSockets == 0 || int64(g.MaxSockets) > n) {
		t.Errorf("%v: %d sockets", rule, g.MaxSockets)
	}
	if text, ok := rule["max_memory"].(string); ok {
		if n, err := size.Parse(text); err != nil || g.MaxMemory == 0 || g.MaxMemory > n {
			t.Errorf("%v: %d bytes, %v", rule, g.MaxMemory, err)
		}
	}
	switch n := rule["snaplen"].(type) {
	case int64:
		if g.Socket.Snaplen == 0 || int64(g.Socket.Snaplen) > n {
			t.Errorf("%v: snaplen %d", rule, g.Socket.Snaplen)
		}
	case string:
		headers := Headers()
		if tail := len(g.Socket.Filter) - len(headers); tail < 0 || !slices.Equal(g.Socket.Filter[tail:], headers) || g.Socket.Snaplen == 0 || g.Socket.Snaplen > headersSnaplen {
			t.Errorf("%v: payload is not cut off", rule)
		}
	}
	if rule["filter"] != nil || rule["filter_ddd"] != nil {
		if g.Socket.Filter == nil {
			t.Errorf("%v: no filter", rule)
		}
	}
	patterns, ok := rule["devices"].([]any)
	for _, d := range devices {
		named := !ok || slices.ContainsFunc(patterns, func(p any) bool {
			match, _ := path.Match(p.(string), d.Name())
			return match
		})
		if shown := g.Socket.Devices == nil || g.Socket.Devices(d); shown != named {
			t.Errorf("%v: device %s: shown %v, named %v", rule, d.Name(), shown, named)
		}
	}
}
