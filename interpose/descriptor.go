//go:build linux && (amd64 || arm64)

package interpose

import (
	"errors"
	"maps"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/interpose/internal/procfs"
)

// /proc shows what a descriptor is, so nothing needs to be kept about dup, fork, exec,
// close or passed descriptors, and nothing can be forged. Of a process that we may not
// inspect, its record shows it, or its own user may inspect it: see record.go.

// descriptor is what is at a descriptor number.
type descriptor struct {
	inode   uint64        // of a socket; 0: it is none
	ringOf  *packetSocket // the packet socket whose ring's memory it is; nil: none
	cloexec bool          // set in records only
}

// errNotOurs is the error for a descriptor of which we know only that it is not a
// socket of ours.
var errNotOurs = errors.New("not a socket of ours")

// memfdLink is what /proc shows for a descriptor of ring memory.
const memfdLink = "/memfd:" + ringmem.MemfdName + " (deleted)"

// inspect finds out from /proc what is at a descriptor of a thread. memfds are the
// files of rings' memory. Only a file that may be ring memory is itself looked at:
// others could lie on a file system that answers late, or never.
func inspect(tid int, fd int32, memfds map[procfs.File]*packetSocket) (descriptor, error) {
	link, err := procfs.Link(tid, fd)
	if err != nil {
		return descriptor{}, err
	}
	if inode, ok := procfs.SocketInode(link); ok {
		return descriptor{inode: inode}, nil
	}
	if link != memfdLink || len(memfds) == 0 {
		return descriptor{}, nil
	}
	f, err := procfs.FileAt(tid, fd)
	return descriptor{ringOf: memfds[f]}, err
}

// inspectAll does so for all descriptors of a thread. It lists those that may be ours:
// sockets and memory of rings.
func inspectAll(tid int, memfds map[procfs.File]*packetSocket) (map[int32]descriptor, error) {
	fds, err := procfs.Descriptors(tid)
	if err != nil {
		return nil, err
	}
	table := make(map[int32]descriptor)
	for _, fd := range fds {
		d, err := inspect(tid, int32(fd), memfds)
		if procfs.Denied(err) { // Linux may show the list all the same
			return nil, err
		}
		if err == nil && d != (descriptor{}) {
			table[int32(fd)] = d
		}
	}
	return table, nil
}

// descriptorOf finds out what is at a descriptor of a thread.
func (s *session) descriptorOf(tid int, fd int32) (descriptor, error) {
	d, err := inspect(tid, fd, s.sockets.byMemfd)
	if !procfs.Denied(err) {
		return d, err
	}
	if r := s.records.of(tid); r != nil {
		if d, ok := r.fds[fd]; ok {
			return d, nil
		}
		return descriptor{}, errNotOurs
	}
	if s.records.asUser(tid, func() (err error) { d, err = inspect(tid, fd, s.sockets.byMemfd); return err }) == nil {
		return d, nil
	}
	return descriptor{}, err
}

// descriptor is what is at a descriptor of the calling thread.
func (c *call) descriptor(fd int32) (descriptor, error) {
	d, err := c.s.descriptorOf(c.tid, fd)
	if procfs.Denied(err) {
		c.hidden, c.hiddenFD = true, fd
	}
	return d, err
}

// descriptorsOf lists what is at the descriptors of a thread, at least those that are
// ours.
func (s *session) descriptorsOf(tid int) (table map[int32]descriptor, err error) {
	table, err = inspectAll(tid, s.sockets.byMemfd)
	if !procfs.Denied(err) {
		return table, err
	}
	if r := s.records.of(tid); r != nil {
		return maps.Clone(r.fds), nil
	}
	if s.records.asUser(tid, func() (err error) { table, err = inspectAll(tid, s.sockets.byMemfd); return err }) == nil {
		return table, nil
	}
	return nil, err
}

// packetSocketsOf calls found for each descriptor of a thread that is a packet socket
// of ours, or, swapped, its ring's memory.
func (s *session) packetSocketsOf(tid int, found func(fd int32, p *packetSocket, swapped bool)) {
	table, _ := s.descriptorsOf(tid)
	for fd, d := range table {
		if p, swapped := s.sockets.at(d); p != nil {
			p.seenAt(tid, fd)
			found(fd, p, swapped)
		}
	}
}

// flagsOf is the O_ flags of a thread's descriptor, with O_CLOEXEC.
func (s *session) flagsOf(tid int, fd int32) int {
	flags, err := procfs.DescriptorFlags(tid, fd)
	if !procfs.Denied(err) {
		return flags
	}
	if r := s.records.of(tid); r != nil {
		d := r.fds[fd]
		if d.cloexec {
			flags |= unix.O_CLOEXEC
		}
		if d.ringOf != nil {
			flags |= nonblocking(d.ringOf.memfd)
		}
		return flags
	}
	s.records.asUser(tid, func() error { flags, err = procfs.DescriptorFlags(tid, fd); return err })
	return flags
}

// nonblocking is O_NONBLOCK if it is set on the open file behind fd, which all
// duplicates of the descriptor share; 0 if not.
func nonblocking(fd int) int {
	flags, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	return flags & unix.O_NONBLOCK
}
