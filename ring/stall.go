package ring

// staller is a design whose release has a moment in which the ring is wrong.
type staller interface{ stallWith(func()) }

// Stall has every Release call f in the moment that the design leaves open:
// between its two stores, or within an update that it does in two steps. It
// widens a window of a few nanoseconds for those who want to see what comes
// through it. Designs that leave no such moment ignore it, and Stall reports
// false. It must be called before the ring is used.
func (r *Ring) Stall(f func()) bool {
	d, ok := r.other.(staller)
	if ok {
		d.stallWith(f)
	}
	return ok
}

// window is what a design with such a moment embeds. The zero value is shut.
type window struct {
	f func()
}

func (w *window) stallWith(f func()) { w.f = f }

func (w *window) stall() {
	if w.f != nil {
		w.f()
	}
}
