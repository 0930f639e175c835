package rxring

// FlowHash is what a group that keeps flows together goes by.
func FlowHash(d *Device, p *Packet) uint32 {
	var a arrival
	a.measure(d, p)
	return flowHash(p, &a)
}

// Charge has the account pay for so much time of the device's writers.
func (a *Account) Charge(d *Device, nanoseconds int64) {
	a.shareOf(d.ns, int32(d.index)).charge(now(), nanoseconds)
}
