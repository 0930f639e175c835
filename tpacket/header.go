package tpacket

import "unsafe"

// Header1 mirrors struct tpacket_hdr (linux/if_packet.h) where unsigned long is
// 64 bits wide: the start of a V1 frame. Seconds and microseconds.
type Header1 struct {
	Status  uint64
	Len     uint32 // of the original packet, in bytes
	Snaplen uint32 // bytes in the frame
	Mac     uint16 // offset of the link-layer header from the frame's start
	Net     uint16 // offset of the network header
	Sec     uint32
	Usec    uint32
	_       uint32
}

// Header2 mirrors struct tpacket2_hdr: the start of a V2 frame. Seconds and
// nanoseconds.
type Header2 struct {
	Status   uint32
	Len      uint32
	Snaplen  uint32
	Mac      uint16
	Net      uint16
	Sec      uint32
	Nsec     uint32
	VLANTCI  uint16
	VLANTPID uint16
	Padding  [4]uint8
}

// Header3 mirrors struct tpacket3_hdr with its tpacket_hdr_variant1: the start
// of each packet in a V3 block.
type Header3 struct {
	NextOffset uint32 // from this header to the next one, 0 in the last
	Sec        uint32
	Nsec       uint32
	Snaplen    uint32
	Len        uint32
	Status     uint32
	Mac        uint16
	Net        uint16
	RxHash     uint32
	VLANTCI    uint32
	VLANTPID   uint16
	Padding16  uint16
	Padding    [8]uint8
}

// Timestamp mirrors struct tpacket_bd_ts as V3 blocks use it: nanoseconds.
type Timestamp struct {
	Sec  uint32
	Nsec uint32
}

// BlockDesc mirrors struct tpacket_block_desc with its tpacket_hdr_v1: the
// start of a V3 block.
type BlockDesc struct {
	Version          uint32
	OffsetToPriv     uint32
	Status           uint32
	NumPkts          uint32
	OffsetToFirstPkt uint32
	BlkLen           uint32
	SeqNum           uint64
	First, Last      Timestamp
}

// SockaddrLL mirrors struct sockaddr_ll. Protocol is in network byte order, as
// in C: see [Htons].
type SockaddrLL struct {
	Family   uint16
	Protocol uint16
	Ifindex  int32
	Hatype   uint16
	Pkttype  PacketType
	Halen    uint8
	Addr     [8]uint8
}

// Req mirrors struct tpacket_req, the argument of PACKET_RX_RING for V1 and V2.
type Req struct {
	BlockSize uint32 // bytes, a multiple of the page size
	BlockNr   uint32
	FrameSize uint32 // bytes, a multiple of [Alignment]
	FrameNr   uint32 // frames in all blocks together
}

// Req3 mirrors struct tpacket_req3, the argument of PACKET_RX_RING for V3.
type Req3 struct {
	Req
	RetireBlkTov   uint32 // milliseconds
	SizeofPriv     uint32 // bytes of private area in each block
	FeatureReqWord uint32
}

// Stats mirrors struct tpacket_stats, what PACKET_STATISTICS returns for V1 and
// V2. Packets includes Drops.
type Stats struct {
	Packets uint32
	Drops   uint32
}

// Stats3 mirrors struct tpacket_stats_v3.
type Stats3 struct {
	Packets      uint32
	Drops        uint32
	FreezeQCount uint32
}

// RolloverStats mirrors struct tpacket_rollover_stats, what PACKET_ROLLOVER_STATS
// returns.
type RolloverStats struct {
	All    uint64 // packets delivered to another member than the chosen one
	Huge   uint64 // of these, packets of a flow that most recent packets belong to
	Failed uint64 // packets for which no member had room
}

// Auxdata mirrors struct tpacket_auxdata, the PACKET_AUXDATA control message.
type Auxdata struct {
	Status   uint32
	Len      uint32
	Snaplen  uint32
	Mac      uint16
	Net      uint16
	VLANTCI  uint16
	VLANTPID uint16
}

// The compiler checks the mirrors: each line fails to build when a size is off.
var (
	_ [SizeofHeader1]byte    = [unsafe.Sizeof(Header1{})]byte{}
	_ [SizeofHeader2]byte    = [unsafe.Sizeof(Header2{})]byte{}
	_ [SizeofHeader3]byte    = [unsafe.Sizeof(Header3{})]byte{}
	_ [SizeofBlockDesc]byte  = [unsafe.Sizeof(BlockDesc{})]byte{}
	_ [SizeofSockaddrLL]byte = [unsafe.Sizeof(SockaddrLL{})]byte{}
	_ [SizeofReq]byte        = [unsafe.Sizeof(Req{})]byte{}
	_ [SizeofReq3]byte       = [unsafe.Sizeof(Req3{})]byte{}
	_ [SizeofStats]byte      = [unsafe.Sizeof(Stats{})]byte{}
	_ [SizeofStats3]byte     = [unsafe.Sizeof(Stats3{})]byte{}
	_ [SizeofAuxdata]byte    = [unsafe.Sizeof(Auxdata{})]byte{}

	_ [SizeofRolloverStats]byte = [unsafe.Sizeof(RolloverStats{})]byte{}
)

// Record is any of this package's fixed-size structs that programs exchange as bytes.
type Record interface {
	Header1 | Header2 | Header3 | BlockDesc | SockaddrLL | Req | Req3 | Stats | Stats3 | RolloverStats | Auxdata
}

// Bytes returns v's memory, which has the layout of the C struct in host byte order.
func Bytes[T Record](v *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
}

// Parse decodes a T from the start of b. Missing bytes are zero and extra ones
// ignored: callers check len(b) first, as Linux checks optlen.
func Parse[T Record](b []byte) (v T) {
	copy(Bytes(&v), b)
	return v
}

// Htons converts a 16-bit value from host to network byte order, or back.
func Htons(v uint16) uint16 {
	b := [2]byte{byte(v >> 8), byte(v)}
	return *(*uint16)(unsafe.Pointer(&b))
}

// Header1At returns the header of the V1 frame that b starts with. b must hold a
// whole header and be aligned to [Alignment], as every frame of a ring is. The
// status word in it is shared: only atomic operations may touch it.
func Header1At(b []byte) *Header1 {
	_ = b[SizeofHeader1-1]
	return (*Header1)(unsafe.Pointer(&b[0]))
}

// Header2At returns the header of the V2 frame that b starts with, under the rules of
// [Header1At].
func Header2At(b []byte) *Header2 {
	_ = b[SizeofHeader2-1]
	return (*Header2)(unsafe.Pointer(&b[0]))
}

// Header3At returns the header of the V3 packet that b starts with. b must hold a
// whole header and be aligned to 8 bytes, as every packet of a block is.
func Header3At(b []byte) *Header3 {
	_ = b[SizeofHeader3-1]
	return (*Header3)(unsafe.Pointer(&b[0]))
}

// Frame1, Frame2 and Frame3 are how a frame of each version begins: the header, and the address
// behind it.
type (
	Frame1 struct {
		Header1
		From SockaddrLL
	}
	Frame2 struct {
		Header2
		From SockaddrLL
	}
	Frame3 struct {
		Header3
		From SockaddrLL
	}
)

// Frame1At returns how the V1 frame in b begins, under the rules of [Header1At].
func Frame1At(b []byte) *Frame1 {
	_ = b[unsafe.Sizeof(Frame1{})-1]
	return (*Frame1)(unsafe.Pointer(&b[0]))
}

// Frame2At returns how the V2 frame in b begins, under the rules of [Header1At].
func Frame2At(b []byte) *Frame2 {
	_ = b[unsafe.Sizeof(Frame2{})-1]
	return (*Frame2)(unsafe.Pointer(&b[0]))
}

// Frame3At returns how the V3 packet in b begins, under the rules of [Header3At].
func Frame3At(b []byte) *Frame3 {
	_ = b[unsafe.Sizeof(Frame3{})-1]
	return (*Frame3)(unsafe.Pointer(&b[0]))
}

// SockaddrLLAt returns the address behind the header in frame b.
func SockaddrLLAt(b []byte, v Version) *SockaddrLL {
	at := Align(v.HeaderSize())
	_ = b[at+SizeofSockaddrLL-1]
	return (*SockaddrLL)(unsafe.Pointer(&b[at]))
}
