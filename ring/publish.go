//go:build !amd64 || race || explore

package ring

import "sync/atomic"

func storeRelease32(p *uint32, v uint32) { atomic.StoreUint32(p, v) }

func storeRelease64(p *uint64, v uint64) { atomic.StoreUint64(p, v) }

func publishWord(w *word, v uint64) { w.Store(v) }
