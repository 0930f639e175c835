package tpacket

// The generic socket level and the option of it that several packages use
// (asm-generic/socket.h).
const (
	SolSocket = 1 // SOL_SOCKET
	SoError   = 4 // SO_ERROR
)
