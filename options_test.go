package rxring_test

// Socket options by their numbers (asm-generic/socket.h), as programs pass them.
const (
	solSocket     = 1
	soRcvbuf      = 8
	soSndbuf      = 7
	soSndbufforce = 32
	soRcvbufforce = 33
	soTimestamp   = 29
	soTimestampNS = 35
	soRxqOvfl     = 40
	soLockFilter  = 44
)
