package attach

import (
	"encoding/json"
	"syscall"
	"time"

	"github.com/rxring/rxring/internal/explain"
)

// sendChunk appends to the answer the part of a list, as JSON, that starts at an offset. list
// returns the list; it is called for the first chunk. m has no more arguments.
func (p *peer) sendChunk(m *message, offset uint32, list func() any) error {
	if !m.end() {
		return fault("a list, with arguments of %d bytes", len(m.b)-headerLen)
	}
	if offset == 0 {
		b, err := json.Marshal(list())
		if err != nil {
			return err
		}
		if err := p.listed.Replace(p.currentGrant().Socket.Budget, int64(len(b))); err != nil {
			return explain.Errorf(syscall.ENOMEM, "list of %w", err)
		}
		p.list = b
		if l := p.cpuLimit(); l != nil {
			l.charge(time.Now(), time.Duration(len(b))*listCost)
		}
	}
	if int64(offset) > int64(len(p.list)) {
		return fault("a list from byte %d on: it has %d bytes", offset, len(p.list))
	}
	rest := p.list[offset:]
	if err := p.reserve(min(len(rest), maxPayload)); err != nil {
		return err
	}
	p.answer.u32(uint32(len(p.list)))
	p.answer.bytes(rest[:min(len(rest), maxPayload)])
	if len(rest) <= maxPayload {
		p.list = nil
		p.listed.Release()
	}
	return nil
}
