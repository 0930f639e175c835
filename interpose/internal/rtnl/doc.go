// Package rtnl is the kernel's side of rtnetlink sockets (NETLINK_ROUTE):
// programs ask for links, addresses and routes, and get those of a namespace's devices,
// as an unprivileged process does in a network namespace of Linux that has only these
// devices.
//
// A [Bus] is the namespace's rtnetlink, a [Socket] a program's socket on it.
// [Socket.Send] (socket.go) splits what the program sends into requests (request.go).
// Each is answered at once with a message (link.go, route4.go, route6.go) or an error, or
// with a dump (dump.go): a list that is made piece by piece while the program receives
// it, so that a socket holds no more than about its receive buffer. [Socket.Front] and
// [Socket.Take] receive.
//
// The one invariant: the program's bytes are read only within the length that it sent,
// and what is kept for a socket is bounded.
//
// Not imitated: extended acknowledgements (NLMSGERR_ATTR_*), which explain errors, and
// IFLA_AF_SPEC, the settings of IPv4 and IPv6 that such devices do not have.
package rtnl
