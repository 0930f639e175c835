// Package feed is what --from says: which device there is, and what feeds it.
//
//	streams:4                        TCP streams in an embedded stack, as net0
//	wg0=streams:4                    the same, as wg0
//	iface:eth0                       a live interface, as eth0
//	file:trace.pcapng,speed=10,loop  a capture, ten times as fast, again and again
//
// [Parse] judges the words alone (its errors may look at what there is, to suggest
// what was meant), [Inspect] reads files through, [Inspected.Open] makes the device,
// [Feed.Start] lets packets come, and [Feed.Close] takes both away again.
package feed
