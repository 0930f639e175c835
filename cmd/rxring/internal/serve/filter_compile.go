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
		raw = []cbpf.Instruction{{Op: opRet}}
	}
	prog := []cbpf.Instruction{
		{Op: opLoadAbs, K: adHatype},
		{Op: opJumpEqual, K: tpacket.ARPHRDEther, Jt: 2},
		{Op: opJumpEqual, K: tpacket.ARPHRDLoopback, Jt: 1},
		{Op: opJump, K: uint32(len(ether))},
	}
	prog = append(prog, ether...)
	prog = append(prog,
		cbpf.Instruction{Op: opLoadAbs, K: adProtocol},
		cbpf.Instruction{Op: opJumpEqual, K: tpacket.ETHPIP, Jt: 2},
		cbpf.Instruction{Op: opJumpEqual, K: tpacket.ETHPIPv6, Jt: 1},
		cbpf.Instruction{Op: opRet},
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
	const (
		classMask, load, loadX      = 0x07, 0x00, 0x01 // BPF_CLASS, BPF_LD, BPF_LDX
		modeMask                    = 0xe0             // BPF_MODE
		absolute, indirect, header4 = 0x20, 0x40, 0xa0 // BPF_ABS, BPF_IND, BPF_MSH
	)
	for i := range prog {
		class, mode := prog[i].Op&classMask, prog[i].Op&modeMask
		if (class == load || class == loadX) && (mode == absolute || mode == indirect || mode == header4) && prog[i].K < netOff {
			prog[i].K += netOff
		}
	}
	return prog
}

// The instructions of compile (linux/bpf_common.h, linux/filter.h).
const (
	opLoadAbs   = 0x20       // BPF_LD | BPF_W | BPF_ABS
	opJump      = 0x05       // BPF_JMP | BPF_JA
	opJumpEqual = 0x15       // BPF_JMP | BPF_JEQ | BPF_K
	opRet       = 0x06       // BPF_RET | BPF_K
	adProtocol  = 0xfffff000 // SKF_AD_OFF + SKF_AD_PROTOCOL
	adHatype    = adProtocol + 28
)
