package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/internal/need"
)

// Names and texts of a daemon that is another user's do not reach a terminal as they are.
func TestATerminalIsSafeFromAHostileDaemon(t *testing.T) {
	need.Time(t, "it starts every command against a hostile daemon")
	const name = "\x1b[31m\u009b\u202e"
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	for _, name := range []string{name, name + "2"} {
		if _, err := ns.AddDevice(rxring.DeviceConfig{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "s")
	srv, err := attach.Listen(path, attach.Config{
		Namespace: ns,
		Describe: func(*rxring.Device) attach.Description {
			return attach.Description{Source: "\x1b]0;title\a\n\u2066\x7f", Counters: map[string]uint64{"\u009b2J": 1}}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	program := filepath.Join(sharedDir(t), "rxring")
	for args, want := range map[string]string{
		"devices":                  "2      ?[31m??   ethernet  02:72:78:72:00:02  1500  -   yes  ?]0;title????\n",
		"devices --json":           `"name": "\u001b[31m\u009b\u202e"`,
		"dump -c 1 -i none":        "?[31m??",
		"dump --for 10ms":          "rxring: listening on ?[31m??",
		"top --once":               "?[31m??",
		"top --once --json":        `\u001b]0;title\u0007\n\u2066\u007f`,
		"dump -i none --no-such-x": "unknown flag",
	} {
		var out bytes.Buffer
		words := strings.Fields(args)
		cmd := exec.Command(program, append(words[:1:1], append([]string{"--at", path}, words[1:]...)...)...)
		cmd.Stdout, cmd.Stderr, cmd.Env = &out, &out, os.Environ()
		cmd.Run()
		if i := strings.IndexFunc(out.String(), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("%s: it writes %q", args, out.String())
		}
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s: it writes %q, want %q in it", args, out.String(), want)
		}
		if strings.HasSuffix(args, "--json") && !json.Valid(out.Bytes()) {
			t.Errorf("%s: it writes %q", args, out.String())
		}
	}
}
