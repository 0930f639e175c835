package rxring

// FlowHash is what a group that keeps flows together goes by.
func FlowHash(d *Device, p *Packet) uint32 {
	var a arrival
	a.measure(d, p)
	return flowHash(p, &a)
}
