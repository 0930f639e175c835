package tpacket

// FanoutArgs returns the int that sets PACKET_FANOUT and is read back from it: id and
// type_flags of struct fanout_args (linux/if_packet.h).
func FanoutArgs(id uint16, mode uint8, flags uint16) uint32 {
	return uint32(id) | uint32(uint16(mode)|flags)<<16
}

// ParseFanoutArgs is the inverse of FanoutArgs.
func ParseFanoutArgs(v uint32) (id uint16, mode uint8, flags uint16) {
	return uint16(v), uint8(v >> 16), uint16(v >> 16 &^ 0xff)
}
