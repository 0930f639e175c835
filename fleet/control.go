package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/source/file/tap"
)

// Operations of a request.
const (
	opOpen  = "open"
	opKeep  = "keep"
	opClose = "close"
	opList  = "list"
	opStat  = "stat"
	opTime  = "time"
)

// listRequest is a request of opList.
const listRequest = `{"op":"list"}`

// request is what a reader asks of a host. The subject has the class.
type request struct {
	Op     string `json:"op"`
	Reader string `json:"reader,omitempty"` // unique for each device of a reader
	User   string `json:"user,omitempty"`   // of the reader's process, as it says, for the host's log

	Device string `json:"device,omitempty"` // of opOpen
	What   what   `json:"what,omitzero"`    // of opOpen

	// Session is that of opKeep and opClose. With opOpen it is the session that the reader had
	// for the device; it is closed for this reader, and the answer has its last counts.
	Session string `json:"session,omitempty"`

	Transit uint64 `json:"transit,omitempty"` // of opKeep: packets that the reader has lost in transit so far, for opStat
}

// audit returns what the log of a host has of a request for a session.
func (q *request) audit(class *Class) []any {
	return []any{"device", clip(q.Device), "class", class.Name, "user", clip(q.User), "reader", clip(q.Reader), "snaplen", q.What.Snaplen, "instructions", q.What.instructions(), "filter", q.What.filter()}
}

// clip returns what a log has of a text that a reader has sent: a refused one may be of any length.
func clip(text string) string { return text[:min(len(text), maxToken)] }

// what is what a session has. Readers that ask for the same of a device share one session.
type what struct {
	Programs    []program   `json:"programs,omitempty"` // one of which accepts a packet; null: everything
	Snaplen     int         `json:"snaplen,omitempty"`  // bytes of each packet; 0: all
	Promiscuous bool        `json:"promiscuous,omitempty"`
	Compress    Compression `json:"compress,omitempty"`
}

// maxPrograms is how many filters a session has at most, since the host runs each on each packet.
const maxPrograms = 4

type program []instruction

// instruction is code, jt, jf and k, as tcpdump -ddd prints them.
type instruction [4]uint32

// programsOf returns filters as a request has them.
func programsOf(filters [][]cbpf.Instruction) (all []program) {
	for _, f := range filters {
		var p program
		for _, in := range f {
			p = append(p, instruction{uint32(in.Op), uint32(in.Jt), uint32(in.Jf), in.K})
		}
		all = append(all, p)
	}
	return all
}

// filters returns the programs, which are checked when a tap is opened with them.
func (w what) filters() (all [][]cbpf.Instruction, err error) {
	for _, p := range w.Programs {
		f := []cbpf.Instruction{}
		for i, in := range p {
			if in[0] > 0xffff || in[1] > 0xff || in[2] > 0xff {
				return nil, fmt.Errorf("program: instruction %d, %v: want code, jt, jf and k, as tcpdump -ddd prints them", i, in)
			}
			f = append(f, cbpf.Instruction{Op: uint16(in[0]), Jt: uint8(in[1]), Jf: uint8(in[2]), K: in[3]})
		}
		all = append(all, f)
	}
	return all, nil
}

// instructions returns how many all programs have.
func (w what) instructions() (n int) {
	for _, p := range w.Programs {
		n += len(p)
	}
	return n
}

// maxLogged is how many instructions of a filter the log has.
const maxLogged = 256

// filter returns the programs on one line: each as tcpdump -ddd prints it with commas for newlines,
// with a semicolon between them.
func (w what) filter() string {
	var b strings.Builder
	left := maxLogged
	for i, p := range w.Programs {
		if i == maxPrograms { // it will be refused
			fmt.Fprintf(&b, ";... %d more", len(w.Programs)-i)
			break
		}
		if i > 0 {
			b.WriteByte(';')
		}
		fmt.Fprint(&b, len(p))
		for _, in := range p[:min(len(p), left)] {
			fmt.Fprintf(&b, ",%d %d %d %d", in[0], in[1], in[2], in[3])
		}
		if n := len(p) - left; n > 0 {
			fmt.Fprintf(&b, ",... %d more", n)
		}
		left -= min(len(p), left)
	}
	return b.String()
}

func (w what) equal(v what) bool {
	return slices.EqualFunc(w.Programs, v.Programs, slices.Equal) && w.Snaplen == v.Snaplen && w.Promiscuous == v.Promiscuous && w.Compress == v.Compress
}

func (w what) check() error {
	if w.Snaplen < 0 || w.Snaplen > tap.MaxSnaplen {
		return fmt.Errorf("snaplen %d: want 1 to %d bytes, or 0 for whole packets", w.Snaplen, tap.MaxSnaplen)
	}
	if len(w.Programs) > maxPrograms {
		return fmt.Errorf("%d programs: want at most %d, or none for everything", len(w.Programs), maxPrograms)
	}
	return w.Compress.check()
}

// id is the name of the session that has w: its hash.
func (w what) id() string {
	text, err := json.Marshal(w)
	if err != nil {
		panic(err) // it has numbers and text only
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:10])
}

// answer is a host's.
type answer struct {
	Error *problem `json:"error,omitempty"` // nil: none, and the rest is valid

	Devices    []Device          `json:"devices,omitempty"`    // of opList and opStat
	Sessions   []SessionStatus   `json:"sessions,omitempty"`   // of opStat
	Recordings []RecordingStatus `json:"recordings,omitempty"` // of opStat
	Time       *instants         `json:"time,omitempty"`       // of opTime

	// Of opOpen.
	Session string        `json:"session,omitempty"` // unique among all sessions, also those that have ended
	Subject string        `json:"subject,omitempty"` // of its batches
	Lease   time.Duration `json:"lease,omitempty"`
	Counts  counts        `json:"counts,omitzero"` // at this moment: what follows is the reader's

	Past *counts `json:"past,omitempty"` // last counts of request.Session; nil: unknown, or it goes on
}

// problem is why a request was refused.
type problem struct {
	Code string `json:"code"`
	Text string `json:"text"`
}

// Codes of problems.
const (
	codeInvalid = "invalid" // EINVAL
	codeDevice  = "device"  // ENODEV: there is no such device
	codeSession = "session" // ESRCH: there is no such session
	codeLimit   = "limit"   // EAGAIN: there are too many
	codeFailed  = "failed"  // the tap cannot be opened
)

func (p *problem) Error() string { return p.Text }

// Unwrap returns the errno.
func (p *problem) Unwrap() error {
	switch p.Code {
	case codeInvalid:
		return syscall.EINVAL
	case codeDevice:
		return syscall.ENODEV
	case codeSession:
		return syscall.ESRCH
	case codeLimit:
		return syscall.EAGAIN
	}
	return nil
}

// maxProblem is how many bytes of what a reader has sent the text of a problem has at most.
const maxProblem = 4 << 10

func refusef(code, format string, args ...any) *problem {
	text := fmt.Sprintf(format, args...)
	return &problem{code, text[:min(len(text), maxProblem)]}
}

// asProblem returns err as an answer has it.
func asProblem(err error) *problem {
	if p := new(problem); errors.As(err, &p) {
		return p
	}
	if invalid := new(cbpf.CheckError); errors.As(err, &invalid) {
		return &problem{codeInvalid, err.Error()}
	}
	return &problem{codeFailed, err.Error()}
}

// Device is a device of a host.
type Device struct {
	Name         string            `json:"name"`
	Type         rxring.DeviceType `json:"type"` // ARPHRD_*
	MTU          int               `json:"mtu"`
	MaxLen       int               `json:"maxlen"` // of the longest packet, as of rxring.DeviceConfig
	HardwareAddr [6]byte           `json:"address,omitzero"`
	Prefixes     []netip.Prefix    `json:"prefixes,omitempty"`
	Up           bool              `json:"up"`
	Recordings   []RecordingInfo   `json:"recordings,omitempty"`
}

func describe(d *rxring.Device) Device {
	return Device{Name: d.Name(), Type: d.Type(), MTU: d.MTU(), MaxLen: d.MaxLen(), HardwareAddr: d.HardwareAddr(), Prefixes: d.Prefixes(), Up: d.Up()}
}
