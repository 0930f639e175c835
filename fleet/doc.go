// Package fleet reads the devices of many hosts through NATS, with exact counts of what was lost
// on the way.
//
// A [Shipper] on each host offers the devices of a namespace; a [Reader] elsewhere adds a device
// for each to its own namespace, where any socket, of a Go program or of an unmodified tcpdump,
// reads it. Package hub embeds a NATS server for those who have none.
//
//	// on each host
//	nc, err := fleet.Dial("nats://hub:4222")
//	shipper, err := fleet.Ship(nc, ns, fleet.ShipConfig{Host: "web-1"})
//
//	// where the tools are
//	nc, err := fleet.Dial("nats://hub:4222")
//	hosts, err := fleet.Discover(ctx, nc, fleet.Query{Hosts: "web-*", Devices: "eth0"})
//	reader, err := fleet.NewReader(nc, hosts, fleet.ReaderConfig{Namespace: ns})
//	err = reader.Start()
//
// # The invariant
//
// Every packet that a far device's tap is offered is delivered here, once, byte for byte and with
// its stamp, or counted: [rxring.Device.Lost] gets the packets that the far ring dropped, those
// that were lost before the far device, and those that were lost in transit. So for a socket here,
// captured and dropped packets add up to those offered there, from the time at which its session
// was opened on. One exception: with several filters, or one of more than 96 instructions, the far
// ring holds packets that are filtered later, so those that it drops may include some that no
// filter accepts.
//
// A writer never waits for a network: the ring of a session's tap is the only buffer. Publishing
// may block, Deliver on the far host does not.
//
// # A session
//
// Nothing is published while no socket here has an interest. Then a reader opens a session on the
// far host, with the filters of its sockets ([rxring.Device.Filters]), at most four, and the snapshot
// length that is enough for all of them. A packet that several of the filters accept crosses once.
// Readers that ask the same share the session. It is kept by a message in each third of a lease,
// 15 s, and ends after a lease without one; time in which the far process was stalled, by load or
// SIGSTOP, does not count. The far host answers with counts, in order with the packets. After two
// leases without a message the device here goes down (ENETDOWN), and up again when the far device
// answers.
//
// A filter that changes keeps its session if no other reader shares it: no packet is lost or
// delivered twice. If others share it, packets between the two may be delivered, or counted, twice; one whose delivery
// by another goroutine was interrupted for milliseconds just then is missed.
//
// A session's packets are in batches of at most 256 KiB and 50 ms. A batch is a section of pcapng,
// so a session's messages in a row are a capture file. Its headers have the number of packets
// before it, and the tap's counts.
//
// # Recordings
//
// A shipper records, all the time, what the filters of its [Recording] list accept, in a JetStream
// stream for each device, compressed with zstd. The server is the hub or, better, a leaf node in the
// shipper's own process (hub.StartLeaf): then nothing crosses the network until it is read, and
// recording goes on while the hub is away. Batches that cannot be stored are published again, in
// order and once each; meanwhile the tap's ring is the buffer, and what it drops is counted.
//
// A [Replay] delivers recordings to devices here, waiting for their sockets. A stream deletes its
// oldest batches at its size or age. What is deleted before a replay has read it is counted as
// lost, too; a replay that begins at a time counts from there on. If a shipper was killed, how many
// packets its ring still had is not known, which is reported.
//
// A stream of the same server, rxring-index, describes the recordings. So [Query.Recorded] finds
// those of hosts that do not answer.
//
// # Classes
//
// A host has classes ([Class]): each is a limit on devices, packets and bytes, by [rxring.Grant].
// A reader uses one. Its requests and batches are on subjects of the class, so NATS permissions say
// who may use it: a user of class C publishes to rxring.v1.*.*.ctl.C and $SRV.INFO.rxring, and
// subscribes to rxring.v1.*.*.*.s.C.* and its inbox. A reader of one class has no access to the
// sessions of another, and each class has its own limit of sessions.
//
// A [Recording] has a class, too: its grant limits what is recorded, and its readers alone replay
// it. They use JetStream's consumers with a filter of the class's subjects, which a user may make
// by CONSUMER.CREATE.*.*.rxring.v1.*.*.*.r.C.* and no other request.
//
// # Subjects
//
// Tokens are percent-encoded.
//
//	rxring.v1.FLEET.HOST.ctl                   answers if the host has a shipper
//	rxring.v1.FLEET.HOST.ctl.CLASS             requests: open, keep, close, list, stat, time
//	rxring.v1.FLEET.HOST.DEVICE.s.CLASS.ID     a session's batches
//	rxring.v1.FLEET.HOST.DEVICE.r.CLASS.NAME   a recording's batches
//	rxring.v1.FLEET.HOST.DEVICE.i.CLASS.NAME   a recording's description
//	$SRV.INFO.rxring                           discovery, by package micro of nats.go
//
// # Files
//
//	dial.go          a connection with the options that the rest relies on
//	access.go        credentials, keys and certificates
//	subject.go       subjects and their tokens
//	control.go       requests and answers
//	batch.go         a batch: its headers
//	encode.go        packets to batches
//	decode.go        batches to packets
//	compression.go   content encodings
//	class.go         what readers of a class receive
//	shipper.go       a host: its requests, and the leases of its sessions
//	session.go       a session on the host, from its tap to its batches
//	record.go        the recordings of a host and their streams
//	record_device.go one recording of a device, from its tap to its batches
//	record_stream.go batches to a stream, each once and in order
//	discover.go      which hosts have which devices
//	stat.go          the sessions of hosts
//	probe.go         whether a server delays publishers
//	name.go          devices' names here
//	reader.go        devices of hosts as devices here
//	reorder.go       packets of several hosts in the order of their stamps
//	clock.go         how hosts' clocks differ from the one here
//	device.go        a device here: interest, session, loss, up and down
//	ledger.go        what a reader knows of a session's counts
//	replay.go        recordings to devices here, in the order of time
//	replay_track.go  one recording in a replay: packets and losses
//	replay_stream.go a stream's messages, in order
//	stream_reader.go consumers of a stream, by subject
//	record_index.go  which recordings a server has
package fleet
