package tpacket

// Comments of packets are rxring's own: Linux has no such option.
const (
	OptComments = 0x7278 // at SolPacket: an int that is not 0 has rings show comments

	// StatusComment says that a comment lies behind the packet's bytes: its length in
	// SizeofCommentLen bytes, native byte order, and its text.
	StatusComment    = 1 << 27
	SizeofCommentLen = 2
)
