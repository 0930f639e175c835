package attach

import (
	"fmt"
	"net"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/ring"
)

// Status is a snapshot of a namespace: see [Server.Status] and [Client.Status].
type Status struct {
	Time    time.Time      `json:"time"`
	Devices []DeviceStatus `json:"devices"`
	Sockets []SocketStatus `json:"sockets"`
}

// DeviceStatus is a device of a [Status].
type DeviceStatus struct {
	Index int      `json:"index"`
	Name  string   `json:"name"`
	Type  string   `json:"type"` // ethernet, loopback, raw-ip, or arphrd-N
	Addr  string   `json:"address,omitempty"`
	Addrs []string `json:"addresses,omitempty"` // with prefix lengths
	MTU   int      `json:"mtu"`
	Up    bool     `json:"up"`
	Description
}

// Description is what the server's program knows of a device.
type Description struct {
	Source string `json:"source,omitempty"` // as in rxring serve --from

	// Counters are the source's own, such as kernel_drops. A peer whose Grant restricts
	// devices, packets or bytes receives them only with AllStatus.
	Counters map[string]uint64 `json:"counters,omitempty"`
}

// SocketStatus is a peer's packet socket in a [Status].
type SocketStatus struct {
	ID     uint32    `json:"id"` // within its peer
	Peer   Peer      `json:"peer"`
	Opened time.Time `json:"opened"`
	Device string    `json:"device"` // "": all
	Filter int       `json:"filter"` // instructions of the program's own filter

	Ring  *RingStatus `json:"ring,omitempty"` // nil: it has a queue
	Queue int         `json:"queue"`          // bytes of the first queued packet

	Offered  uint64     `json:"offered"` // packets, as all counts below
	Filtered uint64     `json:"filtered"`
	Captured uint64     `json:"captured"`
	Dropped  ring.Drops `json:"dropped"` // by reason
	Sent     uint64     `json:"sent"`
}

// RingStatus is a receive ring in a [SocketStatus].
type RingStatus struct {
	Version   string `json:"version"` // V1, V2, V3
	Slots     uint32 `json:"slots"`   // or blocks
	SlotBytes uint32 `json:"slot_bytes"`

	// States has one letter for each slot or block, in ring order: '.' free, 'w' being
	// filled, 'R' with the reader. A ring of more than 256 has one letter for several
	// neighbours: the state furthest from free.
	States string `json:"states"`
	Head   int    `json:"head"` // index in States of the next packet's letter
}

// StatusOf returns the status of a device, without a Description.
func StatusOf(d *rxring.Device) DeviceStatus {
	st := DeviceStatus{Index: d.Index(), Name: d.Name(), Type: TypeName(d.Type()), MTU: d.MTU(), Up: d.Up()}
	if d.Type().Ethernet() {
		addr := d.HardwareAddr()
		st.Addr = net.HardwareAddr(addr[:]).String()
	}
	for _, a := range d.Prefixes() {
		st.Addrs = append(st.Addrs, a.String())
	}
	return st
}

// TypeName returns a device's type as in [DeviceStatus].
func TypeName(t rxring.DeviceType) string {
	switch {
	case t == rxring.Loopback:
		return "loopback"
	case t == rxring.RawIP:
		return "raw-ip"
	case t.Ethernet():
		return "ethernet"
	}
	return fmt.Sprintf("arphrd-%d", t)
}
