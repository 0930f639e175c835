// Package interpose runs an unmodified program, such as tcpdump, and serves its
// packet-socket system calls from an [rxring.Namespace].
//
// The program runs under a seccomp filter that allows nearly every system call and
// traps the few that concern packet sockets and network devices: for those the kernel
// asks the supervisor, three goroutines of this process. The namespace may be another
// process's: see [Config.At]. Wherever the program asks the kernel for network devices
// (rtnetlink, ioctl, files), it finds the namespace's, and no others.
//
// The one invariant: a call that the supervisor does not serve runs in the kernel exactly
// as the program made it. The filter is not a sandbox, and no security boundary around the
// program.
//
// # A packet's way
//
// What the program holds as its packet socket is one end of a socket pair, its stand-in
// (standin.go), so that poll, select, epoll, dup, fork, exec and signals are the kernel's
// own. The supervisor serves the socket itself by a backend (backend.go): an
// [rxring.Socket], or an [attach.Socket] of another process.
//
//   - With a receive ring: the writer copies the packet into the ring, whose memory the
//     program has mapped (standin_mmap.go). If the program sleeps, the writer wakes it by
//     endWaker.Wake: an empty datagram makes the stand-in readable. The program reads the
//     ring, without any call to us, and polls again: refresh arms the next wake-up.
//   - Without one: the packet waits in the backend's queue, and its arrival wakes
//     serveWaiting (loop.go). That answers a receive call that waits for the packet
//     (wait.go), or else, woken by arrivalWaker, stages a copy in the stand-in, for read
//     (standin_stage.go).
//
// # A call's way
//
// A recvfrom, from the notification to the answer:
//
//  1. session.serveCalls (loop.go) receives the notification and locks session.mu, which is
//     held for all that follows.
//  2. session.handle (call.go) finds the row of the call in the table (calls.go), from
//     which the filter was made, too.
//  3. call.before puts stand-ins back where mmap left ring memory, replays an answer that
//     a signal took away (replay.go), finds the socket at the descriptor (findSocket, which
//     uses descriptor.go), and sends what the program wrote to the stand-in before
//     (standin_write.go).
//  4. call.serve calls the row's handler: call.recv, which is receiveFrom (recv.go).
//  5. receiveFrom has its arguments in registers, but for recvmmsg's time-out, which is read
//     from the program's memory (memory.go). Then it checks the notification.
//  6. receiving.try reads the struct msghdr, which recvfrom has none of (msghdr.go), and
//     looks at the first packet of the backend's queue. If there is none, the call arms
//     session.wakeup and waits in session.waiting: serveWaiting, which that wakes, retries
//     it from here (wait.go).
//  7. call.deliver (msghdr.go) opens the program's memory, checks again, and writes the
//     packet and its address; then the packet leaves the queue, and refresh stages the next.
//  8. call.after answers the call: with a value, an errno, or by having the kernel run it.
//
// # When a notification is checked
//
// A thread may end, and its number go to another one, while we serve its call: then what
// we read was not the caller's. So a handler reads all that it needs, checks the
// notification once (call.valid), and only then acts on the socket. Writing to the
// program's memory is an act of its own: call.writer opens the memory, checks, and
// then all results are written.
//
// A receive call reads its struct msghdr after that check, anew at each try: only
// call.deliver acts on it, and that checks again, to write. A send call reads and checks
// for each message.
//
// Answers need no check: the kernel discards those to a call that has ended, and so it does
// with descriptors (ReturnFD, Replace).
package interpose
