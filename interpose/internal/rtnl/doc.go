// Package rtnl is the kernel's side of rtnetlink sockets (NETLINK_ROUTE):
// programs ask for links and addresses, and get those of a namespace's devices,
// as an unprivileged process gets them in a network namespace of Linux that has
// these devices and nothing else.
//
// A [Bus] is the namespace's rtnetlink, a [Socket] a program's socket on it. A
// request goes through [Socket.Send] (socket.go), which takes it apart into
// messages (request.go); each is answered at once (link.go, addr.go), with an
// error (ack.go), or with a dump (dump.go): a list that is made piece by piece,
// as the program fetches it, so that no socket holds more than about its receive
// buffer's worth. [Socket.Front] and [Socket.Take] are how it is fetched.
//
// The one invariant: every byte that comes from the program is looked at within
// the length of what was sent, and what is kept for a socket is bounded.
//
// Not imitated: extended acknowledgements (NLMSGERR_ATTR_*), with which Linux
// explains errors; IFLA_AF_SPEC, the settings of IPv4 and IPv6 that such devices
// do not have.
package rtnl
