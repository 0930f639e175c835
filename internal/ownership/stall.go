package ownership

// staller is a design whose release has a moment in which the ring is wrong.
type staller interface{ stallWith(func()) }

// Stall has every Release call f in the moment in which the design leaves the ring
// wrong: between its two stores, or within an update that it does in two steps. It
// widens a window of a few nanoseconds, so that its faults show. It returns false
// for a design without such a moment. It must be called before the ring is used.
func (r *Ring) Stall(f func()) bool {
	s, ok := r.methods.(*study)
	if !ok {
		return false
	}
	d, ok := s.owner.(staller)
	if ok {
		d.stallWith(f)
	}
	return ok
}

// window is embedded by a design with such a moment. The zero value does nothing.
type window struct {
	f func()
}

func (w *window) stallWith(f func()) { w.f = f }

func (w *window) stall() {
	if w.f != nil {
		w.f()
	}
}
