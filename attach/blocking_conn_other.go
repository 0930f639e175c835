//go:build !linux

package attach

import (
	"net"
	"time"
)

type blockingConn struct{}

func newBlockingConn(*net.UnixConn, time.Duration) (*blockingConn, error) { return nil, errSystem }
func (*blockingConn) write(_, _ []byte) error                             { return errSystem }
func (*blockingConn) read(b, oob []byte) (n, oobn, flags int, err error)  { return 0, 0, 0, errSystem }
func (*blockingConn) hangUp()                                             {}
func (*blockingConn) free()                                               {}
