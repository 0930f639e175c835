package tpacket

import "strconv"

// Version is a ring format, the value of the PACKET_VERSION option
// (enum tpacket_versions).
type Version uint32

// The three ring formats. V1 and V2 are slots of equal size; V3 packs packets
// into blocks.
const (
	V1 Version = iota
	V2
	V3
)

func (v Version) String() string {
	if v > V3 {
		return "TPACKET(" + strconv.FormatUint(uint64(v), 10) + ")"
	}
	return "V" + string('1'+rune(v))
}

// Alignment is TPACKET_ALIGNMENT: frames, and the parts of a frame, start at
// multiples of it.
const Alignment = 16

// Align is TPACKET_ALIGN: n rounded up to a multiple of [Alignment].
func Align(n int) int { return (n + Alignment - 1) &^ (Alignment - 1) }

// Sizes in bytes of the structs of linux/if_packet.h on a 64-bit machine.
const (
	SizeofHeader1    = 32 // struct tpacket_hdr
	SizeofHeader2    = 32 // struct tpacket2_hdr
	SizeofHeader3    = 48 // struct tpacket3_hdr
	SizeofSockaddrLL = 20 // struct sockaddr_ll
	SizeofReq        = 16 // struct tpacket_req
	SizeofReq3       = 28 // struct tpacket_req3
	SizeofStats      = 8  // struct tpacket_stats
	SizeofStats3     = 12 // struct tpacket_stats_v3
	SizeofAuxdata    = 20 // struct tpacket_auxdata
	SizeofBlockDesc  = 48 // struct tpacket_block_desc

	SizeofRolloverStats = 24 // struct tpacket_rollover_stats
)

// HeaderSize is the size in bytes of the version's frame header struct, what
// the PACKET_HDRLEN option reports. It is 0 for an unknown version.
func (v Version) HeaderSize() int {
	switch v {
	case V1:
		return SizeofHeader1
	case V2:
		return SizeofHeader2
	case V3:
		return SizeofHeader3
	}
	return 0
}

// HdrLen is TPACKET_HDRLEN, TPACKET2_HDRLEN or TPACKET3_HDRLEN: the aligned
// frame header and the sockaddr_ll behind it, in bytes.
func (v Version) HdrLen() int {
	return Align(v.HeaderSize()) + SizeofSockaddrLL
}

// Status bits of a receive frame: tp_status, and block_status in V3.
const (
	StatusKernel       = 0       // TP_STATUS_KERNEL: free, owned by the writers
	StatusUser         = 1 << 0  // TP_STATUS_USER: filled, owned by the reader
	StatusCopy         = 1 << 1  // TP_STATUS_COPY: truncated here, whole in the socket's queue
	StatusLosing       = 1 << 2  // TP_STATUS_LOSING: drops since the last statistics read
	StatusCsumNotReady = 1 << 3  // TP_STATUS_CSUMNOTREADY: checksum left to hardware
	StatusVLANValid    = 1 << 4  // TP_STATUS_VLAN_VALID: tp_vlan_tci is valid
	StatusBlkTmo       = 1 << 5  // TP_STATUS_BLK_TMO: block retired by the timer
	StatusVLANTPID     = 1 << 6  // TP_STATUS_VLAN_TPID_VALID: tp_vlan_tpid is valid
	StatusCsumValid    = 1 << 7  // TP_STATUS_CSUM_VALID: checksum already verified
	StatusGSOTCP       = 1 << 8  // TP_STATUS_GSO_TCP: a TCP segment larger than the wire's
	StatusTSSoftware   = 1 << 29 // TP_STATUS_TS_SOFTWARE: software receive timestamp
	StatusTSRawHW      = 1 << 31 // TP_STATUS_TS_RAW_HARDWARE: the card's clock
)

// Status of a transmit frame.
const (
	StatusAvailable   = 0      // TP_STATUS_AVAILABLE: free, owned by the program
	StatusSendRequest = 1 << 0 // TP_STATUS_SEND_REQUEST: filled, to be sent
	StatusSending     = 1 << 1 // TP_STATUS_SENDING: being sent
	StatusWrongFormat = 1 << 2 // TP_STATUS_WRONG_FORMAT: not a frame that can be sent
)

// FeatureFillRxhash is TP_FT_REQ_FILL_RXHASH, the one bit of
// tpacket_req3.tp_feature_req_word.
const FeatureFillRxhash = 1

// Address family, socket level and option names (linux/socket.h,
// linux/if_packet.h).
const (
	AFPacket  = 17  // AF_PACKET
	SolPacket = 263 // SOL_PACKET

	OptAddMembership  = 1  // PACKET_ADD_MEMBERSHIP
	OptDropMembership = 2  // PACKET_DROP_MEMBERSHIP
	OptRecvOutput     = 3  // PACKET_RECV_OUTPUT
	OptRxRing         = 5  // PACKET_RX_RING
	OptStatistics     = 6  // PACKET_STATISTICS
	OptCopyThresh     = 7  // PACKET_COPY_THRESH
	OptAuxdata        = 8  // PACKET_AUXDATA
	OptOrigdev        = 9  // PACKET_ORIGDEV
	OptVersion        = 10 // PACKET_VERSION
	OptHdrlen         = 11 // PACKET_HDRLEN
	OptReserve        = 12 // PACKET_RESERVE
	OptTxRing         = 13 // PACKET_TX_RING
	OptLoss           = 14 // PACKET_LOSS
	OptVnetHdr        = 15 // PACKET_VNET_HDR
	OptTxTimestamp    = 16 // PACKET_TX_TIMESTAMP
	OptTimestamp      = 17 // PACKET_TIMESTAMP
	OptFanout         = 18 // PACKET_FANOUT
	OptTxHasOff       = 19 // PACKET_TX_HAS_OFF
	OptQdiscBypass    = 20 // PACKET_QDISC_BYPASS
	OptRolloverStats  = 21 // PACKET_ROLLOVER_STATS
	OptFanoutData     = 22 // PACKET_FANOUT_DATA
	OptIgnoreOutgoing = 23 // PACKET_IGNORE_OUTGOING
	OptVnetHdrSz      = 24 // PACKET_VNET_HDR_SZ
)

// Fanout modes: how a group chooses one of its members for a packet
// (PACKET_FANOUT_*, linux/if_packet.h).
const (
	FanoutHash     = 0 // PACKET_FANOUT_HASH: by flow
	FanoutLB       = 1 // PACKET_FANOUT_LB: in turn
	FanoutCPU      = 2 // PACKET_FANOUT_CPU: by the receiving CPU
	FanoutRollover = 3 // PACKET_FANOUT_ROLLOVER: the first with room
	FanoutRnd      = 4 // PACKET_FANOUT_RND: at random
	FanoutQM       = 5 // PACKET_FANOUT_QM: by the device's queue
	FanoutCBPF     = 6 // PACKET_FANOUT_CBPF: by a classic BPF program
	FanoutEBPF     = 7 // PACKET_FANOUT_EBPF: by an eBPF program
)

// Flags of a fanout group, beside its mode.
const (
	FanoutFlagRollover       = 0x1000 // PACKET_FANOUT_FLAG_ROLLOVER: another member if the chosen one has no room
	FanoutFlagUniqueID       = 0x2000 // PACKET_FANOUT_FLAG_UNIQUEID: a new group with an unused ID
	FanoutFlagIgnoreOutgoing = 0x4000 // PACKET_FANOUT_FLAG_IGNORE_OUTGOING
	FanoutFlagDefrag         = 0x8000 // PACKET_FANOUT_FLAG_DEFRAG: IPv4 fragments are reassembled first
)

// PacketType is sll_pkttype: how a packet relates to this host
// (linux/if_packet.h).
type PacketType uint8

// The packet types that a receive ring shows.
const (
	PacketHost      PacketType = 0 // PACKET_HOST: to this host
	PacketBroadcast PacketType = 1 // PACKET_BROADCAST
	PacketMulticast PacketType = 2 // PACKET_MULTICAST
	PacketOtherHost PacketType = 3 // PACKET_OTHERHOST: to another host
	PacketOutgoing  PacketType = 4 // PACKET_OUTGOING: sent by this host
)

// EtherTypes and link-layer protocol numbers that AF_PACKET itself treats
// specially (linux/if_ether.h), in host byte order.
const (
	ETHP8023   = 0x0001 // ETH_P_802_3: length field, raw 802.3
	ETHPAll    = 0x0003 // ETH_P_ALL: every packet, both directions
	ETHP8022   = 0x0004 // ETH_P_802_2: length field, LLC follows
	ETHPIP     = 0x0800 // ETH_P_IP
	ETHPARP    = 0x0806 // ETH_P_ARP
	ETHP8021Q  = 0x8100 // ETH_P_8021Q
	ETHPIPv6   = 0x86dd // ETH_P_IPV6
	ETHP8021AD = 0x88a8 // ETH_P_8021AD
	ETHP8023Mn = 0x0600 // ETH_P_802_3_MIN: smaller values are lengths
)
