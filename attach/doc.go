// Package attach offers a namespace to other processes, on a unix socket.
//
// The process that has the packets listens. Its writers work as before:
//
//	srv, err := attach.Listen("/run/user/1000/wg0.sock", attach.Config{Namespace: ns})
//	if err != nil {
//		return err
//	}
//	defer srv.Close()
//
// Another process reads them with `rxring run --at /run/user/1000/wg0.sock -- tcpdump -i wg0`
// or, in Go, with [Dial] and package capture.
//
// A peer's packet sockets belong to the server's namespace. Their calls are requests on the
// unix socket (protocol.go), each with one answer; only a poll of an empty ring waits for none
// (poll.go). A ring's memory is a memfd that the client makes and the server seals (memory.go),
// and wake-ups use a socket pair (event_conn.go). So packets cross a socket only if they are
// sent, or received without a ring.
//
// What the server holds for a peer is charged to its user's budget, or is small and limited
// (request.go).
//
// The one invariant: whatever a peer sends, stores or keeps open, it receives what its
// [Grant] allows, and costs other readers no more than that; and when either process ends,
// however it ends, what the peer had is freed.
package attach
