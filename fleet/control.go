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
}

// audit returns what the log of a host has of a request for a session.
func (q *request) audit(class *Class) []any {
	return []any{"device", q.Device, "class", class.Name, "user", q.User, "reader", q.Reader, "snaplen", q.What.Snaplen, "instructions", len(q.What.Program), "filter", q.What.filter()}
}

// what is what a session has. Readers that ask for the same of a device share one session.
type what struct {
	Program     []instruction `json:"program,omitempty"` // null: everything
	Snaplen     int           `json:"snaplen,omitempty"` // bytes of each packet; 0: all
	Promiscuous bool          `json:"promiscuous,omitempty"`
	Compress    Compression   `json:"compress,omitempty"`
}

// instruction is code, jt, jf and k, as tcpdump -ddd prints them.
type instruction [4]uint32

func instructions(prog []cbpf.Instruction) (all []instruction) {
	for _, in := range prog {
		all = append(all, instruction{uint32(in.Op), uint32(in.Jt), uint32(in.Jf), in.K})
	}
	return all
}

// program returns the filter, which is checked when a tap is opened with it.
func (w what) program() (prog []cbpf.Instruction, err error) {
	for i, in := range w.Program {
		if in[0] > 0xffff || in[1] > 0xff || in[2] > 0xff {
			return nil, fmt.Errorf("program: instruction %d, %v: want code, jt, jf and k, as tcpdump -ddd prints them", i, in)
		}
		prog = append(prog, cbpf.Instruction{Op: uint16(in[0]), Jt: uint8(in[1]), Jf: uint8(in[2]), K: in[3]})
	}
	return prog, nil
}

// maxLogged is how many instructions of a filter the log has.
const maxLogged = 256

// filter returns the program on one line, as tcpdump -ddd prints it with commas for newlines.
func (w what) filter() string {
	if w.Program == nil {
		return ""
	}
	var b strings.Builder
	fmt.Fprint(&b, len(w.Program))
	for _, in := range w.Program[:min(len(w.Program), maxLogged)] {
		fmt.Fprintf(&b, ",%d %d %d %d", in[0], in[1], in[2], in[3])
	}
	if n := len(w.Program) - maxLogged; n > 0 {
		fmt.Fprintf(&b, ",... %d more", n)
	}
	return b.String()
}

func (w what) equal(v what) bool {
	return slices.Equal(w.Program, v.Program) && w.Snaplen == v.Snaplen && w.Promiscuous == v.Promiscuous && w.Compress == v.Compress
}

func (w what) check() error {
	if w.Snaplen < 0 || w.Snaplen > tap.MaxSnaplen {
		return fmt.Errorf("snaplen %d: want 1 to %d bytes, or 0 for whole packets", w.Snaplen, tap.MaxSnaplen)
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

	Devices []Device  `json:"devices,omitempty"` // of opList
	Time    *instants `json:"time,omitempty"`    // of opTime

	// Of opOpen.
	Session string        `json:"session,omitempty"` // unique among all sessions that ever were
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

func refusef(code, format string, args ...any) *problem {
	return &problem{code, fmt.Sprintf(format, args...)}
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
