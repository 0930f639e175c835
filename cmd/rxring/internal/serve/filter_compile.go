package serve

import (
	"errors"
	"fmt"
	"strings"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/cmd/rxring/internal/pcapfilter"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/tpacket"
)

// compile compiles an expression to one program for devices of all types. On devices without
// an Ethernet header it rejects all packets but IP.
func compile(expr string) ([]cbpf.Instruction, error) {
	if strings.TrimSpace(expr) == "" {
		return nil, errors.New(`it is empty: want an expression such as "tcp port 80"`)
	}
	if pcapfilter.Tags(expr) {
		return nil, fmt.Errorf("%q: VLAN tags are in the packet's metadata here, which such a program does not read: want what tcpdump -ddd -i DEVICE prints for it, as filter_ddd", expr)
	}
	ether, err := pcapfilter.Compile(expr, int(capfile.LinkEthernet), 0)
	if err != nil {
		if errors.Is(err, errors.ErrUnsupported) {
			return nil, fmt.Errorf("%w; or what tcpdump -ddd prints, as filter_ddd", err)
		}
		return nil, err
	}
	raw, err := pcapfilter.Compile(expr, int(capfile.LinkRaw), 0)
	if err != nil { // an expression about Ethernet rejects raw IP
		raw = []cbpf.Instruction{{Op: cbpf.OpRetK}}
	}
	prog := []cbpf.Instruction{
		{Op: cbpf.OpLdAbsW, K: cbpf.AdOff + cbpf.AdHatype},
		{Op: cbpf.OpJEQ, K: tpacket.ARPHRDEther, Jt: 2},
		{Op: cbpf.OpJEQ, K: tpacket.ARPHRDLoopback, Jt: 1},
		{Op: cbpf.OpJA, K: uint32(len(ether))},
	}
	prog = append(prog, ether...)
	prog = append(prog,
		cbpf.Instruction{Op: cbpf.OpLdAbsW, K: cbpf.AdOff + cbpf.AdProtocol},
		cbpf.Instruction{Op: cbpf.OpJEQ, K: tpacket.ETHPIP, Jt: 2},
		cbpf.Instruction{Op: cbpf.OpJEQ, K: tpacket.ETHPIPv6, Jt: 1},
		cbpf.Instruction{Op: cbpf.OpRetK},
	)
	prog = append(prog, behindLinkLayer(raw)...)
	if _, err := cbpf.Compile(prog); err != nil {
		return nil, err
	}
	return prog, nil
}

// behindLinkLayer changes the absolute offsets of a program for raw IP to offsets from the
// network header (SKF_NET_OFF).
func behindLinkLayer(prog []cbpf.Instruction) []cbpf.Instruction {
	for i := range prog {
		if prog[i].LoadsPacket() && prog[i].K < cbpf.NetOff {
			prog[i].K += cbpf.NetOff
		}
	}
	return prog
}
