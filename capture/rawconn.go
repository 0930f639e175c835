package capture

import (
	"errors"
	"fmt"
	"syscall"
)

// SyscallConn returns the packet socket of a handle that [Open] returned, for instance to
// send on it: the kernel does not deliver a frame to the socket that sent it, nor to that
// socket's fanout group. Other handles have no descriptor; for them the error is
// [errors.ErrUnsupported].
func (h *Handle) SyscallConn() (syscall.RawConn, error) {
	s, ok := h.socket.(interface{ syscallConn() syscall.RawConn })
	if !ok {
		return nil, fmt.Errorf("capture: the handle has no descriptor: want one that Open returned: %w", errors.ErrUnsupported)
	}
	return s.syscallConn(), nil
}
