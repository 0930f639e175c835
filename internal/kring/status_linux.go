package kring

import (
	"errors"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/rxring/rxring/tpacket"
)

// Status loads the status word of frame i, or of block i in a V3 ring. It pairs
// with the kernel's store of the same word, after which the rest of the frame
// may be read.
func (r *Ring) Status(i uint32) uint32 { return atomic.LoadUint32(r.status(i)) }

// Release hands frame or block i back to the kernel.
func (r *Ring) Release(i uint32) { atomic.StoreUint32(r.status(i), tpacket.StatusKernel) }

func (r *Ring) status(i uint32) *uint32 {
	if r.Geometry.Version == tpacket.V3 {
		var d tpacket.BlockDesc
		return (*uint32)(unsafe.Pointer(&r.Block(i)[unsafe.Offsetof(d.Status)]))
	}
	b := r.Frame(i)
	if r.Geometry.Version == tpacket.V1 { // an unsigned long: take its low half
		return (*uint32)(unsafe.Pointer(&b[lowHalf]))
	}
	return (*uint32)(unsafe.Pointer(&b[0]))
}

// lowHalf is where the low 32 bits of a 64-bit word are: 0, or 4 on a
// big-endian machine.
var lowHalf = func() int {
	one := uint64(1)
	return 4 * int(1-*(*byte)(unsafe.Pointer(&one)))
}()

// Wait polls until frame or block i is the reader's.
func (r *Ring) Wait(i uint32, d time.Duration) error {
	for deadline := time.Now().Add(d); r.Status(i)&tpacket.StatusUser == 0; {
		left := time.Until(deadline)
		if left <= 0 {
			return errors.New("no packet in time")
		}
		// Sleep briefly: poll checks the slot before head, not slot i.
		if _, err := r.Poll(min(left, 5*time.Millisecond)); err != nil {
			return err
		}
	}
	return nil
}
