// Package attach offers a namespace to other processes, over a unix socket.
//
// The process that has the packets listens; its writers do not notice:
//
//	srv, err := attach.Listen("/run/user/1000/wg0.sock", attach.Config{Namespace: ns})
//	if err != nil {
//		return err
//	}
//	defer srv.Close()
//
// From another terminal, `rxring run --at /run/user/1000/wg0.sock -- tcpdump -i wg0`
// or, in Go, [Dial] and package capture.
//
// A peer's packet sockets are the namespace's own. What crosses the unix socket is
// calls, one answer each (message.go); a ring's memory crosses once, as a memfd that the
// client makes and the server seals (memory.go), and wake-ups go through a socket pair. No packet does, but those that a
// socket without a ring receives, and those that are sent.
//
// What the server holds for a peer is charged to its user's budget, or is small and bounded
// (turn.go).
//
// The one invariant: a peer gets what its [Grant] says and costs nobody else more
// than that, whatever it sends, stores or holds on to; and when either side ends,
// however it ends, what it had is freed.
package attach
