// Package page serves a page that shows a namespace in a browser: devices, readers, rings and
// losses, and the packets of a device.
//
//	server.go      the HTTP server, from its address to its end; address.go: that address
//	token.go       the token in the printed URL, and the cookies that it is exchanged for
//	guard.go       which requests are answered at all
//	connection.go  the page as a peer of the namespace (attach.Server.Connect)
//	overview.go    a snapshot each second, for all pages; loss.go: what to do about losses
//	history.go     the samples of five minutes
//	events.go      server-sent events
//	packets.go     the live table of a device; keep.go: the packets that can be opened
//	detail.go      a packet that was opened: its layers and bytes
//	take.go        the next packets as a pcapng file; kept.go: those that a table has kept
//	assets.go      HTML documents and static files
//
// The one invariant: everything that a response contains was read through the page's
// attach.Client, so within its grant: a browser shows no more than tcpdump would.
//
// A page never delays a writer or another reader: a ring in this process is the only buffer,
// and what a slow browser misses is counted.
package page
