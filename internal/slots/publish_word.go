//go:build !explore && (!amd64 || race)

package slots

// PublishWord stores v to w with release order.
func PublishWord(w *Word, v uint64) { w.Store(v) }
