// Package capture reads packets from a live interface through the kernel's own
// receive ring ([Open]), or from a device of a namespace in this program
// ([OpenDevice]; [OpenNamespace] reads all) or in another one ([OpenAttached]). It reads
// them in place, in pure Go, without an allocation per packet.
//
//	h, err := capture.Open("eth0", capture.Config{})
//	if err != nil {
//		return err
//	}
//	defer h.Close()
//	for p, err := range h.Packets(ctx) {
//		if err != nil {
//			return err
//		}
//		fmt.Println(p.Time(), p.Len, p.Data)
//	}
//
// Package github.com/rxring/rxring/capture/gopacketsource, a module of its own, reads a
// [Handle] through gopacket's interfaces.
package capture
