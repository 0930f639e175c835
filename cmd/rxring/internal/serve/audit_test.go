package serve

import (
	"log/slog"
	"os/exec"
	"strings"
	"testing"

	"github.com/rxring/rxring/attach"
)

// A process often ends before its server notices that the connection has closed.
func TestAProcessThatHasEndedStillHasItsCommandInTheAudit(t *testing.T) {
	cmd := exec.Command("cat", "-u")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// It has its command line when it runs, a moment after Start.
	stdin.Write([]byte("x"))
	if _, err := stdout.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	peer := attach.Peer{ID: 7, PID: cmd.Process.Pid}
	var out strings.Builder
	log := slog.New(slog.NewTextHandler(&out, nil))
	var a auditor
	a.audit(log, attach.Event{Kind: attach.PeerAttached, Peer: peer}, "")
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	a.audit(log, attach.Event{Kind: attach.SocketClosed, Peer: peer, Socket: new(attach.SocketStatus)}, "net0")
	a.audit(log, attach.Event{Kind: attach.PeerDetached, Peer: peer}, "")
	if n := strings.Count(out.String(), `command="cat -u"`); n != 3 {
		t.Errorf("%d of 3 lines have the command:\n%s", n, &out)
	}
	if len(a.commands) != 0 {
		t.Errorf("kept after the peer had detached: %v", a.commands)
	}
}

func TestTheAuditNamesAThrottledUser(t *testing.T) {
	var out strings.Builder
	var a auditor
	a.audit(slog.New(slog.NewTextHandler(&out, nil)), attach.Event{Kind: attach.UserThrottled, Peer: attach.Peer{UID: 61235}, Count: 17}, "")
	if !strings.Contains(out.String(), `level=WARN msg=audit event=throttled uid=61235 user=61235 packets=17`) {
		t.Errorf("%s", &out)
	}
}
