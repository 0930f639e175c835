package tpacket

// Hardware types, sll_hatype (linux/if_arp.h).
const (
	ARPHRDEther             = 1
	ARPHRDEEther            = 2 // experimental Ethernet of 3 Mbit/s
	ARPHRDAX25              = 3
	ARPHRDPronet            = 4
	ARPHRDChaos             = 5
	ARPHRDIEEE802           = 6 // IEEE 802.5
	ARPHRDArcnet            = 7
	ARPHRDDLCI              = 15
	ARPHRDIPOverFC          = 18 // RFC 4338; Linux has no name for it
	ARPHRDATM               = 19
	ARPHRDIEEE1394          = 24
	ARPHRDInfiniband        = 32
	ARPHRDSlip              = 256
	ARPHRDCAN               = 280
	ARPHRDPPP               = 512
	ARPHRDCisco             = 513 // Cisco HDLC
	ARPHRDRawHDLC           = 518
	ARPHRDRawIP             = 519
	ARPHRDTunnel            = 768
	ARPHRDTunnel6           = 769
	ARPHRDFRAD              = 770 // Frame Relay
	ARPHRDLoopback          = 772
	ARPHRDLocalTalk         = 773
	ARPHRDFDDI              = 774
	ARPHRDSit               = 776
	ARPHRDIPGRE             = 778
	ARPHRDIrDA              = 783
	ARPHRDFCFabric          = 787
	ARPHRDIEEE80211         = 801
	ARPHRDIEEE80211Prism    = 802
	ARPHRDIEEE80211Radiotap = 803
	ARPHRDIEEE802154        = 804
	ARPHRDIEEE802154Monitor = 805
	ARPHRDIP6GRE            = 823
	ARPHRDNetlink           = 824
	ARPHRD6LoWPAN           = 825
	ARPHRDVsockMon          = 826
	ARPHRDLAPD              = 8445  // libpcap's, for ISDN drivers outside Linux
	ARPHRDNone              = 65534 // no link-layer header, as a TUN device
)

// Link-layer protocol numbers, sll_protocol, below those of EtherTypes
// (linux/if_ether.h), in host byte order.
const (
	ETHPAX25       = 0x0002
	ETHPWanPPP     = 0x0007 // PPP in HDLC framing
	ETHPLocalTalk  = 0x0009
	ETHPCAN        = 0x000c
	ETHPCANFD      = 0x000d
	ETHPCANXL      = 0x000e
	ETHPIrDA       = 0x0017
	ETHPHDLC       = 0x0019
	ETHPIEEE802154 = 0x00f6
)
