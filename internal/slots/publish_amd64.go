//go:build amd64 && !race && !explore

package slots

import "unsafe"

// On amd64 every store is a store-release: the processor makes stores visible
// in their order (Intel SDM 9.2.2), and Go's compiler, though its memory model
// does not promise it, never moves one store to memory before another. A
// release's three stores need no more than that, and a locked instruction saved
// is a tenth of what a small packet costs. The wake-up needs a full barrier
// after them: see package notify. Under the race detector all are atomic.

func storeRelease32(p *uint32, v uint32) { *p = v }

func storeRelease64(p *uint64, v uint64) { *p = v }

// PublishWord stores v to w with release order.
func PublishWord(w *Word, v uint64) { *(*uint64)(unsafe.Pointer(w)) = v }
