// Package packetconn is a packet socket as a [net.PacketConn], for libraries that exchange
// frames: ARP, DHCP, LLDP. [Listen] opens one on a device of a namespace in this program,
// [ListenAttached] on a device that another process offers.
//
//	c, err := packetconn.Listen(dev, packetconn.Config{Protocol: 0x0806}) // ARP
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	client, err := arp.New(ifi, c) // github.com/mdlayher/arp
//
// The one invariant: a call returns once its deadline has passed or the connection is closed,
// and what was received by then is either returned or still in the queue.
//
// To read many packets a second, package capture has rings.
package packetconn
