//go:build !linux

package attach

import (
	"net"
	"time"
)

type direct struct{}

func newDirect(*net.UnixConn, time.Duration) (*direct, error)      { return nil, errSystem }
func (*direct) write(_, _ []byte) error                            { return errSystem }
func (*direct) read(b, oob []byte) (n, oobn, flags int, err error) { return 0, 0, 0, errSystem }
func (*direct) hangUp()                                            {}
func (*direct) free()                                              {}
