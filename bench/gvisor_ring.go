package bench

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/safemem"
	"gvisor.dev/gvisor/pkg/sentry/memmap"
	"gvisor.dev/gvisor/pkg/sentry/pgalloc"
	"gvisor.dev/gvisor/pkg/sentry/socket/netstack/packetmmap"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/rxring/rxring/tpacket"
)

// gvisorRing is the packet ring of gVisor's sentry, which a program in the
// sandbox maps. Outside the sentry it needs one thing of it: a MemoryFile,
// which is a memfd here as it is there.
//
// Packets go to it in the state in which gVisor's own stack would have them, a
// PacketBuffer, made once and for all, and straight to the endpoint: what the
// stack does before that (a clone for each packet endpoint) is not counted.
type gvisorRing struct {
	memory *pgalloc.MemoryFile
	stack  *stack.Stack
	ep     *packetmmap.Endpoint
	packet *stack.PacketBuffer

	// Its reader.
	frames            []safemem.Block
	next              int
	sent              uint64
	read, bytes       uint64
	accepted, dropped uint64
	err               error
}

const nic tcpip.NICID = 1

func openGvisorRing(size int) (_ session, err error) {
	fd, err := unix.MemfdCreate("gvisor", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	file := os.NewFile(uintptr(fd), "gvisor")
	memory, err := pgalloc.NewMemoryFile(file, pgalloc.MemoryFileOpts{DisableMemoryAccounting: true})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("gVisor's memory file: %w", err), file.Close())
	}
	g := &gvisorRing{memory: memory, stack: stack.New(stack.Options{}), ep: new(packetmmap.Endpoint)}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.close())
		}
	}()
	ctx := context.WithValue(context.Background(), pgalloc.CtxMemoryFile, memory)
	req := ringRequest(size)
	if err := g.ep.Init(ctx, stack.PacketMMapOpts{
		Req: &tcpip.TpacketReq{
			TpBlockSize: req.BlockSize, TpBlockNr: req.BlockNr,
			TpFrameSize: req.FrameSize, TpFrameNr: req.FrameNr,
		},
		IsRx:    true,
		Stack:   g.stack,
		Wq:      new(waiter.Queue),
		Version: linux.TPACKET_V2,
	}); err != nil {
		return nil, fmt.Errorf("gVisor's packet ring: %w", err)
	}
	if err := g.mapFrames(ctx, req); err != nil {
		return nil, err
	}
	g.packet = gvisorPacket(size)
	return g, nil
}

// mapFrames does what mmap of the socket does in the sandbox.
func (g *gvisorRing) mapFrames(ctx context.Context, req tpacket.Req) error {
	whole := memmap.MappableRange{Start: 0, End: uint64(req.BlockSize) * uint64(req.BlockNr)}
	ts, err := g.ep.Translate(ctx, whole, whole, hostarch.ReadWrite)
	if err != nil || len(ts) != 1 {
		return fmt.Errorf("gVisor's packet ring lies in %d pieces (%w): want 1", len(ts), err)
	}
	blocks, err := g.memory.MapInternal(ts[0].FileRange(), hostarch.ReadWrite)
	if err != nil || blocks.NumBlocks() != 1 {
		return fmt.Errorf("gVisor's packet ring maps to %d pieces (%w): want 1", blocks.NumBlocks(), err)
	}
	perBlock := int(req.BlockSize / req.FrameSize)
	for i := range int(req.FrameNr) {
		at := i/perBlock*int(req.BlockSize) + i%perBlock*int(req.FrameSize)
		g.frames = append(g.frames, blocks.Head().DropFirst(at).TakeFirst(int(req.FrameSize)))
	}
	return nil
}

// gvisorPacket is the packet as gVisor's stack hands it to a packet endpoint.
func gvisorPacket(size int) *stack.PacketBuffer {
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(packet(size))})
	p.LinkHeader().Consume(macLen)
	p.NetworkProtocolNumber = header.IPv4ProtocolNumber
	p.PktType = tcpip.PacketOtherHost
	return p
}

func (g *gvisorRing) send(n int) {
	for range n {
		g.ep.HandlePacket(nic, header.IPv4ProtocolNumber, g.packet)
	}
	g.sent += uint64(n)
}

func (g *gvisorRing) empty() {
	for range g.frames {
		frame := g.frames[g.next]
		status, err := safemem.LoadUint32(frame)
		if err != nil {
			g.err = err
			return
		}
		if status == tpacket.StatusKernel {
			break
		}
		g.read++
		g.bytes += uint64(tpacket.Header2At(frame.ToSlice()).Snaplen)
		if _, err := safemem.SwapUint32(frame, tpacket.StatusKernel); err != nil {
			g.err = err
			return
		}
		g.next = (g.next + 1) % len(g.frames)
	}
}

func (g *gvisorRing) settle() (tally, error) {
	s := g.ep.Stats() // clears: Packets includes Dropped
	g.accepted += uint64(s.Packets - s.Dropped)
	g.dropped += uint64(s.Dropped)
	return tally{accepted: g.accepted, dropped: g.dropped, read: g.read, bytes: g.bytes}, g.err
}

func (g *gvisorRing) close() error {
	if g.packet != nil {
		g.packet.DecRef()
		g.ep.Close()
	}
	g.stack.Destroy()
	g.memory.Destroy()
	return nil
}
