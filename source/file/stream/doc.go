// Package stream sends the packets of a namespace's devices to clients that connect to a listener,
// as pcapng, on every system that Go supports. Wireshark (TCP@HOST:PORT), `nc | tshark` and
// [github.com/rxring/rxring/source/file/pipe] read it.
//
// A client may send a [Request] in one line of JSON first:
//
//	{"device":"wg0","snaplen":128,"filter":"tcp port 443"}
//
// It has [RequestTime] for that. Without a request it receives all packets of all devices, also
// of those that are added later. The answer is a pcapng stream, or a line of text that begins with
// [ErrorPrefix].
//
// The one invariant: a client costs the writers and other clients nothing but the copies into
// its own rings, whatever it does. Packets for which they have no room are dropped, and counted
// in the statistics blocks of its stream.
//
//	server.go   clients, and their number
//	request.go  what a client asks for
//	session.go  a client, from its request to its end
//	device.go   the packets of one device for one client
//	interfaces.go  the interfaces of a client's stream
package stream
