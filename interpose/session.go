//go:build linux && (amd64 || arm64)

package interpose

import (
	"fmt"
	"log/slog"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/interpose/internal/rtnl"
	"github.com/rxring/rxring/interpose/internal/seccomp"
)

// session serves one program and its descendants. mu guards all of it, and is held while
// a call is handled; only wakers are called without.
type session struct {
	mu sync.Mutex

	cfg         *Config
	log         *slog.Logger
	ns          *rxring.Namespace // to look up devices
	openBackend opener
	l           *seccomp.Listener
	root        int // the launcher: its descendants are the program's processes

	loop
	sockets sockets     // socket.go
	rtnl    rtnlSockets // rtnl.go
	pairs   pairs       // pairs.go: their stand-ins
	swaps   swaps       // standin_mmap.go: stand-ins that are ring memory just now
	waiting waiting     // wait.go: calls that wait
	replays replayCache // replay.go: answers that were lost
	sweeper sweeper     // sweep.go: the search for closed sockets
	records records     // record.go: processes that may not be inspected
	reports reports     // report.go

	packet []byte // a buffer for the packet that a receive call gets
	frame  []byte // a buffer for the frame that a send call sends
}

func newSession(cfg *Config, l *seccomp.Listener, root int) (*session, error) {
	s := &session{
		cfg:         cfg,
		log:         cfg.logger(),
		ns:          cfg.namespace(),
		openBackend: cfg.opener(),
		l:           l,
		root:        root,
		sockets:     newSockets(),
		swaps:       swaps{seen: make(map[uint32]uint64)},
		replays:     newReplayCache(),
		loop:        newLoop(),
		records:     newRecords(cfg.options().Records),
		packet:      make([]byte, 1<<16),
		frame:       make([]byte, frameBuffer),
	}
	s.rtnl = rtnlSockets{bus: rtnl.NewBus(s.ns, s.flags), open: make(map[uint64]*rtnlSocket)}
	var err error
	if s.pairs, err = newPairs(); err != nil {
		return nil, err
	}
	return s, nil
}

// detached reports whether the sockets were another process's that has ended.
func (s *session) detached() bool { return s.cfg.At != nil && s.cfg.At.Err() != nil }

// warnf logs what the program's user should know.
func (s *session) warnf(format string, args ...any) { s.log.Warn(fmt.Sprintf(format, args...)) }

// end closes what is left when serveWaiting has returned.
func (s *session) end() {
	for _, r := range s.waiting.receives {
		s.l.Fail(r.ID, unix.EBADF)
	}
	for _, w := range s.waiting.sends {
		s.l.Fail(w.ID, unix.EBADF)
	}
	for len(s.sockets.open) > 0 {
		s.closeSocket(s.sockets.open[0])
	}
	for _, rx := range s.sockets.promisc {
		rx.Close()
	}
	for _, r := range s.rtnl.open {
		r.close()
	}
	s.records.close()
	s.l.Close()
}
