// Package feed implements --from: it makes devices, and starts the source of their packets.
//
//	streams:4                        TCP streams in an embedded stack, as net0
//	wg0=streams:4                    the same, as wg0
//	iface:eth0                       a live interface, as eth0
//	file:trace.pcapng,speed=10,loop  a capture, ten times as fast, again and again
//	pcap:-                           pcap or pcapng from standard input, while it is written
//	nats://hub/web-*/eth0            devices of hosts that ship them to a NATS server
//	exec:ssh web1 tcpdump -U -w -    the same, from a command
//
// [Parse] checks the syntax (and for suggestions in its errors also files and interfaces),
// [Inspect] reads files through and the beginning of streams, [Inspected.Open] adds the devices, [Feed.Start] starts the
// source, and [Feed.Close] stops it and removes the devices. A [Set] has all feeds of a
// namespace.
package feed
