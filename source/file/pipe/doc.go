// Package pipe delivers packets from a program that writes pcap or pcapng, while it writes: from
// its standard output, a FIFO, or a connection.
//
// [Open] reads the stream up to its first interfaces, [Stream.Add] adds a device for each to a
// namespace, and [Source.Start] starts the delivery. An interface that the stream describes later
// has its device from then on.
//
// The one invariant: a stream costs no other source anything, whatever it contains and whenever
// it stalls. It has a goroutine of its own, memory of a fixed size, and at most
// [capfile.MaxInterfaces] devices.
//
// Packets that the writer lost are in the statistics of readers: a stream of pcapng may carry
// counts of drops, which [rxring.Device.Lost] gets.
package pipe
