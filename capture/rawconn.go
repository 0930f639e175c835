package capture

import (
	"errors"
	"fmt"
	"syscall"
)

// SyscallConn gives access to the packet socket of a handle that [Open] made, to send
// with it for instance: the kernel never shows a socket, or its fanout group, the
// frames that it sends itself. Other handles have no descriptor of their own:
// [errors.ErrUnsupported].
func (h *Handle) SyscallConn() (syscall.RawConn, error) {
	s, ok := h.socket.(interface{ syscallConn() syscall.RawConn })
	if !ok {
		return nil, fmt.Errorf("capture: the handle is not of a live interface (Open): %w", errors.ErrUnsupported)
	}
	return s.syscallConn(), nil
}
