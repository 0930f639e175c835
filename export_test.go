package rxring

// Charge has the account pay for so much time of the device's writers, of which there is no
// doubt.
func (a *Account) Charge(d *Device, nanoseconds int64) {
	s := a.shareOf(d.ns, int32(d.index))
	s.suspect.Store(true)
	s.charge(now(), nanoseconds, true)
}

// Forgive has the account owe nothing on the device.
func (a *Account) Forgive(d *Device) {
	s := a.shareOf(d.ns, int32(d.index))
	s.used.Store(0)
	s.over.Store(false)
	s.suspect.Store(false)
}
