package packetconn

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/internal/notify"
	"github.com/rxring/rxring/internal/suggest"
	"github.com/rxring/rxring/tpacket"
)

// Config configures a [Conn]. The zero value exchanges whole frames of all protocols.
type Config struct {
	// Datagram: packets begin at the network header (SOCK_DGRAM), and the link-layer
	// header of those that are sent is made from the address. Otherwise they include
	// the link-layer header (SOCK_RAW).
	Datagram bool

	Protocol uint16             // EtherType; 0: all (ETH_P_ALL)
	Filter   []cbpf.Instruction // nil: everything; see [Conn.SetBPF]
}

// Listen opens a packet socket on a device of a namespace in this program.
func Listen(d *rxring.Device, c Config) (*Conn, error) {
	s, err := d.Namespace().Socket(c.sockType(), 0)
	if err != nil {
		return nil, listenError(d.Name(), err)
	}
	return newConn(s, d, c, func() error { return nil })
}

// ListenAttached opens a packet socket on a device of another process's namespace. When the
// connection ends, the error of reads wraps [syscall.ENETDOWN]. Closing the Conn leaves client
// open.
func ListenAttached(client *attach.Client, device string, c Config) (*Conn, error) {
	d, ok := client.Namespace().DeviceByName(device)
	if !ok {
		var names []string
		for _, d := range client.Namespace().Devices() {
			names = append(names, d.Name())
		}
		return nil, listenError(device, explain.Errorf(syscall.ENODEV, "there is no such device: %s", suggest.Among(device, names)))
	}
	s, err := client.Socket(c.sockType(), 0)
	if err != nil {
		return nil, listenError(device, err)
	}
	return newConn(s, d, c, func() error { return detached(client) })
}

// detached returns why client's connection has ended, nil while it has not. To a reader, the
// device is down.
func detached(client *attach.Client) error {
	err := client.Err()
	if err == nil || errors.Is(err, syscall.ENETDOWN) {
		return err
	}
	return explain.Errorf(syscall.ENETDOWN, "%w", err)
}

// newConn binds s to d. ended returns why no packet will follow, nil while some may.
func newConn(s socket, d *rxring.Device, config Config, ended func() error) (*Conn, error) {
	c := &Conn{socket: s, sleeper: notify.NewSleeper(s, ended), ifindex: int32(d.Index()), protocol: config.Protocol}
	if c.protocol == 0 {
		c.protocol = tpacket.ETHPAll
	}
	if addr := d.HardwareAddr(); d.Type().Ethernet() {
		c.addr.HardwareAddr = addr[:]
	}
	var err error
	if config.Filter != nil { // before Bind: no other packet is queued
		err = s.AttachFilter(config.Filter)
	}
	if err == nil {
		err = s.Bind(tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: c.ifindex, Protocol: tpacket.Htons(c.protocol)})
	}
	if err != nil {
		s.Close()
		return nil, listenError(d.Name(), err)
	}
	return c, nil
}

func (c *Config) sockType() rxring.SockType {
	if c.Datagram {
		return rxring.SockDgram
	}
	return rxring.SockRaw
}

func listenError(device string, err error) error {
	return &net.OpError{Op: "listen", Net: network, Err: fmt.Errorf("device %s: %w", device, err)}
}
