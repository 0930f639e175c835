//go:build explore

package writer

// Private is the ring's private state, which exploration makes part of a state.
func (r *Ring) Private() any { return &r.ticket }
