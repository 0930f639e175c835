package serve

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cbpf"
)

// auditor logs attach's events. Its methods may be called concurrently.
type auditor struct {
	mu       sync.Mutex
	commands map[uint64]string // command lines of attached peers, by Peer.ID
}

// command returns the command line that the event's peer had when it attached: when it
// detaches, the process may have ended.
func (a *auditor) command(e attach.Event) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	line, known := a.commands[e.Peer.ID]
	if !known {
		line = command(e.Peer.PID)
	}
	switch e.Kind {
	case attach.PeerAttached:
		if a.commands == nil {
			a.commands = make(map[uint64]string)
		}
		a.commands[e.Peer.ID] = line
	case attach.PeerDetached, attach.PeerFaulted:
		delete(a.commands, e.Peer.ID)
	}
	return line
}

// audit logs an event. device is the device of the event's socket, if any.
func (a *auditor) audit(log *slog.Logger, e attach.Event, device string) {
	if e.Kind == attach.UserThrottled { // about all processes of the user
		log.Warn("audit", "event", string(e.Kind), "uid", e.Peer.UID, "user", UserName(e.Peer.UID), "packets", e.Count)
		return
	}
	line := a.command(e)
	level := slog.LevelInfo
	if e.Kind == attach.PeerRefused || e.Kind == attach.PeersRefused || e.Kind == attach.PeerFaulted {
		level = slog.LevelWarn
	}
	ctx := context.Background()
	if !log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("event", string(e.Kind)),
		slog.Uint64("peer", e.Peer.ID),
		slog.Uint64("uid", uint64(e.Peer.UID)),
		slog.String("user", UserName(e.Peer.UID)),
		slog.Uint64("gid", uint64(e.Peer.GID)),
		slog.Int("pid", e.Peer.PID),
	}
	if line != "" {
		attrs = append(attrs, slog.String("command", line))
	}
	if e.Count > 0 {
		attrs = append(attrs, slog.Uint64("connections", e.Count))
	}
	if s := e.Socket; s != nil {
		attrs = append(attrs, socketAttrs(e.Kind, s, device)...)
	}
	if len(e.Filter) > 0 {
		attrs = append(attrs, slog.String("filter", oneLine(e.Filter)))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.String("err", e.Err.Error()))
	}
	log.LogAttrs(ctx, level, "audit", attrs...)
}

func socketAttrs(kind attach.EventKind, s *attach.SocketStatus, device string) []slog.Attr {
	attrs := []slog.Attr{
		slog.Uint64("socket", uint64(s.ID)),
		slog.String("device", device),
		slog.Int("filter_instructions", s.Filter),
	}
	if r := s.Ring; r != nil {
		attrs = append(attrs, slog.String("ring", r.Version), slog.Uint64("ring_bytes", uint64(r.Slots)*uint64(r.SlotBytes)))
	}
	if kind != attach.SocketClosed {
		return attrs
	}
	attrs = append(attrs,
		slog.Uint64("offered", s.Offered),
		slog.Uint64("filtered", s.Filtered),
		slog.Uint64("captured", s.Captured),
		slog.Uint64("sent", s.Sent),
	)
	for why, n := range s.Dropped.All() {
		attrs = append(attrs, slog.Uint64("dropped_"+why.Name(), n))
	}
	return attrs
}

// maxFilter limits the instructions of a filter that are logged.
const maxFilter = 256

// oneLine formats a program for filter_ddd, unless it is too long.
func oneLine(prog []cbpf.Instruction) string {
	line := strings.ReplaceAll(strings.TrimSuffix(formatDDD(prog[:min(len(prog), maxFilter)]), "\n"), "\n", ",")
	if n := len(prog) - maxFilter; n > 0 {
		line += fmt.Sprintf(",... %d more", n)
	}
	return line
}

// maxCommand limits the bytes of a command line that are logged.
const maxCommand = 256

// command returns a process's command line, which the process may have changed; "": it has
// ended.
func command(pid int) string {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return ""
	}
	defer f.Close()
	b := make([]byte, maxCommand+1)
	n, _ := io.ReadFull(f, b)
	line := strings.ReplaceAll(strings.TrimRight(string(b[:min(n, maxCommand)]), "\x00"), "\x00", " ")
	if n > maxCommand {
		line += "..."
	}
	return line
}
