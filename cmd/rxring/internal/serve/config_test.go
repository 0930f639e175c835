package serve

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rxring/rxring/cmd/rxring/internal/feed"
	"github.com/rxring/rxring/cmd/rxring/internal/metrics"
	"github.com/rxring/rxring/cmd/rxring/internal/pcapfilter"
	"github.com/rxring/rxring/internal/need"
)

// here is a small system's user database.
var here = Resolver{
	Filter: compile,
	User: func(name string) (string, error) {
		if id, ok := map[string]string{"root": "0", "alice": "1000", "bob": "1001", "rxring": "990", "broken": "4294967295"}[name]; ok {
			return id, nil
		}
		return "", user.UnknownUserError(name)
	},
	Group: func(name string) (string, error) {
		switch name {
		case "pcap":
			return "2000", nil
		case "staff":
			return "2001", nil
		case "slow":
			return "", errors.New("no answer")
		}
		return "", user.UnknownGroupError(name)
	},
}

func mustParse(t testing.TB, text string) *Config {
	t.Helper()
	c, err := Parse("rxring.toml", []byte(text), here)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const everything = `
at = "/run/rxring.sock"
mode = "0660"
group = "pcap"
max_memory = "1GiB"
user = "rxring"
sandbox = false

[[source]]
from = "lan=iface:eth0,buffer=64MiB"
[[source]]
from = "streams:4"

[[allow]]
users = ["alice", 1001]
groups = ["staff"]
devices = ["lan", "net?"]
filter_ddd = """
4
40 0 0 12
21 0 1 2048
6 0 0 96
6 0 0 0
"""
snaplen = "headers"
max_memory = "64MiB"
max_sockets = 8
send = true
promiscuous = false
status = "all"
page = true

[[allow]]
users = ["*"]
snaplen = 96

[metrics]
listen = "127.0.0.1:9100"

[log]
format = "json"
level = "debug"
`

// parsed compares configurations: what their words mean, and not in which lines.
var parsed = cmp.Options{
	cmp.AllowUnexported(Rule{}),
	cmpopts.IgnoreFields(Rule{}, "Line"),
	cmp.Comparer(func(a, b feed.Spec) bool { return a.String() == b.String() }),
}

func TestAFileSaysAllThis(t *testing.T) {
	c := mustParse(t, everything)
	if c.At != "/run/rxring.sock" || c.Mode != 0o660 || c.Group.ID != 2000 || c.MaxMemory != 1<<30 {
		t.Errorf("%+v", c)
	}
	if c.User == nil || c.User.ID != 990 || c.Sandbox || !Default().Sandbox {
		t.Errorf("%+v", c)
	}
	if len(c.Sources) != 2 || c.Sources[0].String() != "lan=iface:eth0,buffer=64MiB" {
		t.Errorf("sources: %v", c.Sources)
	}
	if c.Metrics != (metrics.Address{Network: "tcp", Address: "127.0.0.1:9100"}) || c.Log != (Log{JSON: true, Level: slog.LevelDebug}) {
		t.Errorf("%+v %+v", c.Metrics, c.Log)
	}
	r := c.Rules[0]
	want := Rule{
		Users: []Principal{{Name: "alice", ID: 1000}, {ID: 1001}}, Groups: []Principal{{Name: "staff", ID: 2001}},
		Devices: []string{"lan", "net?"}, FilterDDD: r.FilterDDD, selects: r.FilterDDD, Headers: true,
		MaxMemory: 64 << 20, MaxSockets: 8, Send: true, AllStatus: true, NoPromiscuous: true, Page: true,
	}
	if d := cmp.Diff(want, r, parsed); d != "" || len(r.FilterDDD) != 4 {
		t.Errorf("the first rule (-want +got):\n%s", d)
	}
	if d := cmp.Diff(Rule{Users: []Principal{{Any: true}}, Snaplen: 96}, c.Rules[1], parsed); d != "" {
		t.Errorf("the second rule (-want +got):\n%s", d)
	}
	if c.Rules[1].Line != 33 {
		t.Errorf("the second rule is in line %d", c.Rules[1].Line)
	}
}

func TestAnEmptyFileIsTheDefault(t *testing.T) {
	if c := mustParse(t, "# nothing\n"); !reflect.DeepEqual(c, Default()) || c.Mode != fs.FileMode(0o600) {
		t.Errorf("%+v", c)
	}
}

func TestWriteConfigRoundTrips(t *testing.T) {
	for _, text := range []string{everything, "", "group = 0\n[metrics]\nlisten = \"unix:/run/m \\\"x\\\".sock\""} {
		c := mustParse(t, text)
		if d := cmp.Diff(c, mustParse(t, writeConfig(c)), parsed); d != "" {
			t.Errorf("%s\n(-read +written and read):\n%s", text, d)
		}
	}
}

func TestAFaultHasItsLineAndARemedy(t *testing.T) {
	allow := "\n[[allow]]\nusers = [\"alice\"]\n" // a key comes in line 4
	tests := []struct {
		name, file string
		want       []string // each in a line of its own
	}{
		{"no TOML", "at = \"/run/x\"\nmode = = 3", []string{`:2: column 8: `}},
		{"a key twice", "at = \"/a\"\nat = \"/b\"", []string{`:2: column 1: `}},
		{"an unknown key", "\nsnap = 3", []string{`:2: snap: unknown key: want allow, at, group, log, max_memory, metrics, mode, sandbox, source, user`}},
		{"an unknown table", "\n\n[polcy]\nx = 1", []string{`:3: polcy: unknown key: want allow, at,`}},
		{"an unknown key of a rule", allow + "snaplenn = 3", []string{`:4: snaplenn: unknown key: did you mean snaplen? want devices, filter, filter_ddd, groups, max_memory, max_sockets, page, promiscuous, send, snaplen, status, users`}},
		{"an unknown key of a source", "[[source]]\nfrom = \"streams\"\nname = \"x\"", []string{`:3: name: unknown key: want from`}},
		{"an unknown key of the log", "[log]\nfile = \"x\"", []string{`:2: file: unknown key: want format, level`}},
		{"an unknown dotted key", "log.colour = true", []string{`:1: colour: unknown key: want format, level`}},
		{"an unknown key in an inline table", "source = [\n {from = \"streams\"},\n {from = \"streams\", x = 1},\n]", []string{`:3: x: unknown key: want from`}},

		{"a path that is none", "at = \"rxring.sock\"", []string{`:1: at: "rxring.sock": want a path that starts at /`}},
		{"a path of another type", "at = 3", []string{`:1: at: it is an integer: want a path`}},
		{"a mode without quotes", "mode = 0o660", []string{`:1: mode: it is an integer: want a string of octal digits such as "0660"`}},
		{"a mode of other digits", "mode = \"0860\"", []string{`:1: mode: "0860": want a string of octal digits`}},
		{"a mode with more than permissions", "mode = \"4755\"", []string{`:1: mode: "4755": want`, `at most "0777"`}},
		{"an unknown group", "group = \"wheel\"", []string{`:1: group: there is no group "wheel" here: want a name of this system, or a number`}},
		{"a group of another type", "group = [1]", []string{`:1: group: it is an array: want a group's name or number`}},
		{"a size without a unit", "max_memory = \"1000\"", []string{`:1: max_memory: "1000": want a size such as "64MiB"`}},
		{"a size that is a number", "max_memory = 1000", []string{`:1: max_memory: it is an integer: want a size such as "64MiB"`}},

		{"a source that is none", "[[source]]\nfrom = \"pigeon\"", []string{`:2: from: "pigeon": want streams:N, iface:NAME, file:PATH, pcap:FIFO, exec:COMMAND or nats://SERVER`}},
		{"a source with a number that is none", "[[source]]\nfrom = \"streams:x\"", []string{`:2: from: "streams:x": "x" streams: want a number from 0 to 256`}},
		{"a source without from", "\n[[source]]\n", []string{`:2: from: it is missing: want streams:N`}},
		{"a source that is a table", "[source]\nfrom = \"streams\"", []string{`:1: source: it is a table: want a table for each: [[source]]`}},
		{"sources that are strings", "source = [\"streams\"]", []string{`:1: source: it is a string: want a table for each: [[source]]`}},

		{"a rule for nobody", "\n[[allow]]\nsend = true", []string{`:2: allow: it names no user or group: want users or groups, or users = ["*"] for all, or page = true`}},
		{"no rules, in words", "allow = []", []string{`:1: allow: it is empty: want a table for each, [[allow]]`}},
		{"an empty list of users", "[[allow]]\nusers = []", []string{`:2: users: it is empty: want users' names or numbers, or ["*"]`}},
		{"an unknown user", "[[allow]]\nusers = [\"alice\",\n \"mallory\"]", []string{`:3: users: there is no user "mallory" here: want a name of this system, or a number without quotes`}},
		{"a user with an unusable number", "[[allow]]\nusers = [\"broken\"]", []string{`:2: users: user "broken" has the number 4294967295: want one from 0 to 4294967294`}},
		{"a negative user", "[[allow]]\nusers = [-1]", []string{`:2: users: -1: want a number from 0 to 4294967294`}},
		{"a user without a name", "[[allow]]\nusers = [\"\"]", []string{`:2: users: it is empty: want a user's name`}},
		{"a user that is a boolean", "[[allow]]\nusers = [true]", []string{`:2: users: it is a boolean: want a user's name or number`}},
		{"users that are a string", "[[allow]]\nusers = \"alice\"", []string{`:2: users: it is a string: want users' names or numbers`}},
		{"all groups", "[[allow]]\ngroups = [\"*\"]", []string{`:2: groups: there is no group "*" here`}},
		{"a group that cannot be looked up", "[[allow]]\ngroups = [\"slow\"]", []string{`:2: groups: group "slow": no answer`}},
		{"no devices", allow + "devices = []", []string{`:4: devices: it is empty: want devices' names`}},
		{"a pattern that is none", allow + "devices = [\"eth[\"]", []string{`:4: devices: eth[: want a device's name, in which * stands for`}},
		{"a device that is a number", allow + "devices = [3]", []string{`:4: devices: 3: want a device's name`}},
		{"snaplen 0", allow + "snaplen = 0", []string{`:4: snaplen: 0: want "headers", or 1 to 262144 bytes`}},
		{"a snaplen that is too long", allow + "snaplen = 262145", []string{`:4: snaplen: 262145: want "headers", or 1 to 262144 bytes`}},
		{"a snaplen of other words", allow + "snaplen = \"header\"", []string{`:4: snaplen: "header": want "headers", or 1 to 262144 bytes`}},
		{"half promiscuous", allow + "promiscuous = 0.5", []string{`:4: promiscuous: it is a number with a fraction: want true or false`}},
		{"too many sockets", allow + "max_sockets = 5000", []string{`:4: max_sockets: 5000: want 1 to 4096`}},
		{"sockets and a half", allow + "max_sockets = 1.5", []string{`:4: max_sockets: it is a number with a fraction: want 1 to 4096`}},
		{"send that is a string", allow + "send = \"yes\"", []string{`:4: send: it is a string: want true or false`}},
		{"another status", allow + "status = \"some\"", []string{`:4: status: "some": want "own" or "all"`}},
		{"an empty filter", allow + "filter = ' '", []string{`:4: filter: it is empty: want an expression such as "tcp port 80", or no filter for all packets`}},
		{"two filters", allow + "filter = \"tcp\"\nfilter_ddd = \"1\\n6 0 0 0\"", []string{`:5: filter_ddd: filter is set, too: want one of them`}},
		{"a program that is none", allow + "filter_ddd = \"tcp\"", []string{`:4: filter_ddd: it has 0 instructions but starts with "tcp": want what tcpdump -ddd prints`}},
		{"a program without a number", allow + "filter_ddd = \"6 0 0 0\"", []string{`:4: filter_ddd: it does not start with the number of instructions`}},
		{"a program of three numbers", allow + "filter_ddd = \"1,6 0 0\"", []string{`:4: filter_ddd: instruction 0, "6 0 0", has 3 numbers: want 4`}},
		{"a program with a jump of 9 bits", allow + "filter_ddd = \"1,6 256 0 0\"", []string{`:4: filter_ddd: instruction 0: "256": want a number of 8 bits`}},
		{"a program that Linux refuses", allow + "filter_ddd = \"1,0 0 0 0\"", []string{`:4: filter_ddd: classic BPF instruction 0 (ld #0x0): the last instruction must be ret`}},
		{"a program that computes its return, and headers", allow + "snaplen = \"headers\"\nfilter_ddd = \"2,128 0 0 0,22 0 0 0\"", []string{`:5: filter_ddd: it computes the length that it accepts of a packet`}},
		{"an expression of nothing", allow + "filter = \" \"", []string{`:4: filter: it is empty: want an expression`}},
		{"an expression about tags", allow + "filter = \"vlan 7\"", []string{`:4: filter: "vlan 7": VLAN tags are in the packet's metadata here`}},

		{"metrics for everybody", "[metrics]\nlisten = \"0.0.0.0:9100\"", []string{`:2: listen: "0.0.0.0:9100": other machines may reach it: want "unix:`}},
		{"metrics for everybody, shorter", "[metrics]\nlisten = \":9100\"", []string{`:2: listen: ":9100": other machines may reach it`}},
		{"metrics on a name", "[metrics]\nlisten = \"example.com:9100\"", []string{`:2: listen: "example.com:9100": other machines may reach it`}},
		{"metrics without a port", "[metrics]\nlisten = \"127.0.0.1\"", []string{`:2: listen: "127.0.0.1": want "unix:`}},
		{"metrics on a port that is none", "[metrics]\nlisten = \"[::1]:http\"", []string{`:2: listen: "[::1]:http": port "http": want a number from 1 to 65535`}},
		{"metrics on a path that is none", "[metrics]\nlisten = \"unix:m.sock\"", []string{`:2: listen: "unix:m.sock": want a path that starts at /`}},
		{"metrics nowhere", "\n[metrics]", []string{`:2: listen: it is missing: want "unix:`}},
		{"another format", "[log]\nformat = \"xml\"", []string{`:2: format: "xml": want "text" or "json"`}},
		{"another level", "[log]\nlevel = \"all\"", []string{`:2: level: "all": want "debug", "info", "warn" or "error"`}},
		{"a sandbox in words", "\nsandbox = \"no\"", []string{`:2: sandbox: it is a string: want true or false`}},
		{"an unknown user to become", "\nuser = \"rxringg\"", []string{`:2: user: there is no user "rxringg" here`}},
		{"a date", "[log]\nlevel = 1979-05-27", []string{`:2: level: it is a date or time: want "debug"`}},

		{"several faults, by line", "mode = \"x\"\n[log]\nlevel = 3\n[[allow]]\nusers = [\"mallory\"]\nsnap = 1", []string{
			`:1: mode: "x"`, `:3: level: it is an integer`, `:5: users: there is no user "mallory"`, `:6: snap: unknown key`,
		}},
	}
	for _, tt := range tests {
		c, err := Parse("rxring.toml", []byte(tt.file), here)
		if err == nil {
			t.Errorf("%s: no error, but %v", tt.name, c)
			continue
		}
		rest := err.Error()
		for _, want := range tt.want {
			i := strings.Index(rest, want)
			if i < 0 {
				t.Errorf("%s:\n%v\nwant: %s", tt.name, err, want)
				break
			}
			rest = rest[i+len(want):]
		}
		for line := range strings.Lines(err.Error()) {
			if !strings.HasPrefix(line, "rxring.toml:") {
				t.Errorf("%s: a line without its place: %s", tt.name, line)
			}
		}
	}
}

func TestAnExpressionNeedsLibpcapAndIsForBothKindsOfDevices(t *testing.T) {
	if _, err := pcapfilter.Compile("tcp", 1, 0); errors.Is(err, errors.ErrUnsupported) {
		need.Skip(t, need.Programs, "%v", err)
	}
	c := mustParse(t, "[[allow]]\nusers = [\"*\"]\nfilter = \"tcp dst port 12865\"")
	if c.Rules[0].Filter != "tcp dst port 12865" || len(c.Rules[0].selects) == 0 {
		t.Errorf("%+v", c.Rules[0])
	}
	if _, err := Parse("rxring.toml", []byte("\n[[allow]]\nusers = [\"*\"]\nfilter = \"tcp prt 80\""), here); err == nil || !strings.HasPrefix(err.Error(), "rxring.toml:4: filter: ") {
		t.Errorf("%v", err)
	}
}

// docs/serve.md shows a file with every key.
func TestTheFileInTheDocsIsRead(t *testing.T) {
	if _, err := compile("tcp port 80"); errors.Is(err, errors.ErrUnsupported) {
		need.Skip(t, need.Programs, "%v", err)
	}
	doc, err := os.ReadFile("../../../../docs/serve.md")
	if err != nil {
		t.Fatal(err)
	}
	_, few, _ := strings.Cut(string(doc), "```toml\n")
	few, rest, _ := strings.Cut(few, "```")
	_, file, _ := strings.Cut(rest, "```toml\n")
	file, _, ok := strings.Cut(file, "```")
	if !ok {
		t.Fatal("docs/serve.md does not show two files")
	}
	c := mustParse(t, file)
	if len(c.Sources) != 1 || len(c.Rules) != 1 || c.Metrics == (metrics.Address{}) || c.Log == (Log{}) {
		t.Errorf("%+v", c)
	}
	for line := range strings.Lines(file) {
		key, comment, _ := strings.Cut(line, "#")
		if strings.TrimSpace(key) != "" && strings.Contains(key, "=") && !strings.Contains(comment, "Default: ") && !strings.Contains(comment, "Required.") {
			t.Errorf("no default in %q", line)
		}
	}
	if c := mustParse(t, few); len(c.Sources) != 1 || len(c.Rules) != 3 {
		t.Errorf("the file with a few keys: %+v", c)
	}
	// Every key that a rule knows is there, or explained beside it.
	for _, key := range []string{"at", "mode", "group", "max_memory", "from", "users", "groups", "devices", "filter", "snaplen", "max_sockets", "send", "promiscuous", "status", "listen", "format", "level"} {
		if !strings.Contains(file, "\n"+key+" = ") && !strings.HasPrefix(file, key+" = ") {
			t.Errorf("the file does not have %s", key)
		}
	}
}
