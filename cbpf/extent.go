package cbpf

// maxMSH is the largest X that a load of 4 * (byte & 0xf), an IPv4 header's length, returns.
const maxMSH = 4 * 0xf

// Extent returns how many bytes from a packet's start prog reads at most. ok is false if no such
// number is known: a computed offset, or one from a header (LLOff, NetOff). A packet that is
// truncated to that many bytes or more has the same result, but for what ret returns.
func Extent(prog []Instruction) (n int, ok bool) {
	const most = 1 << 20
	bounded := true // X is 0, or from MSH
	for _, in := range prog {
		if in.Op == classMISC|miscTAX || in.Op&0x07 == classLDX && in.Op&0xe0 != modeMSH {
			bounded = false
		}
	}
	for _, in := range prog {
		if in.walks() {
			return 0, false
		}
		if _, ancillary := in.Ancillary(); ancillary || !in.LoadsPacket() {
			continue
		}
		end := int64(in.K) + 4
		switch in.Op & 0x18 {
		case sizeH:
			end -= 2
		case sizeB:
			end -= 3
		}
		if in.Op&0xe0 == modeIND {
			if !bounded {
				return 0, false
			}
			end += maxMSH
		}
		if end > most {
			return 0, false
		}
		n = max(n, int(end))
	}
	return n, true
}
