package tpacket

// The generic socket level, and its option that several packages ask for
// (asm-generic/socket.h).
const (
	SolSocket = 1 // SOL_SOCKET
	SoError   = 4 // SO_ERROR
)
