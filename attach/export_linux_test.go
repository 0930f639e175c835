package attach

// WithoutPassRights has servers do without SO_PASSRIGHTS, as before Linux 6.16, and returns
// what changes it back.
func WithoutPassRights() (back func()) {
	withoutPassRights = true
	return func() { withoutPassRights = false }
}
