//go:build !linux

package attach

import (
	"errors"
	"net"
	"os"
	"syscall"

	"github.com/rxring/rxring"
)

// errSystem: SOCK_SEQPACKET, SO_PEERCRED and sealed memfds exist only on Linux.
var errSystem = errors.New("attach: only Linux can share a namespace between processes")

const oobLen, oobLenForOne = 0, 0

func rights(int) []byte                             { return nil }
func parseRights([]byte) []int                      { return nil }
func parseOneRight([]byte) int                      { return -1 }
func duplicate(syscall.Conn) int                    { return -1 }
func interruptibly(f func())                        { f() }
func discard(int)                                   {}
func closeAndDiscard(*net.UnixConn)                 {}
func shutDown(int)                                  {}
func refuseRights(int, bool) bool                   { return false }
func (*peer) closeAsync(...int)                     {}
func (*Server) refuseRights(syscall.RawConn)        {}
func closeFD(int)                                   {}
func truncated(int) bool                            { return false }
func peerCredentials(int) (Peer, error)             { return Peer{}, errSystem }
func peerGroups(*net.UnixConn) ([]uint32, error)    { return nil, errSystem }
func eventPair(int) (ours, theirs int, err error)   { return -1, -1, errSystem }
func connectionPair() (ours, theirs int, err error) { return -1, -1, errSystem }
func sendEvent(int, []byte)                         {}
func receiveEvent(int, []byte) (n int, err error)   { return 0, errSystem }
func unixConn(*os.File) (*net.UnixConn, error)      { return nil, errSystem }
func maxFiles() int                                 { return 0 }
func noFile(err error) error                        { return err }
func hasHungUp(*net.UnixConn) bool                  { return false }

func (*Server) accept(syscall.RawConn) {}

func publish(*rxring.Namespace, string) (*Server, error) { return nil, errSystem }
func (Published) isStale() bool                          { return false }

func receive(int, []byte, []byte) (n, oobn, flags int, err error) { return 0, 0, 0, errSystem }
func wouldBlock(error) bool                                       { return false }
func unreadBytes(int) int                                         { return 0 }
