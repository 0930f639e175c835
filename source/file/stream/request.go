package stream

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/printable"
)

// RequestTime is how long the server waits for the first byte of a request, and for the rest
// of its line.
const RequestTime = 300 * time.Millisecond

// ErrorPrefix begins the line that a server sends in place of a stream.
const ErrorPrefix = "rxring: "

const (
	maxRequest = 64 << 10 // bytes of a request's line
	maxSnapLen = 262144   // of capture.Config
)

// Request is what a client wants. The zero value: whole packets of all devices.
type Request struct {
	Device  string `json:"device,omitempty"`  // name; "": all devices
	SnapLen int    `json:"snaplen,omitempty"` // bytes of each packet; 0: all
	Filter  string `json:"filter,omitempty"`  // in libpcap's language; "": everything

	// Program is a filter that the client has compiled for the device's link type, in the
	// form of `tcpdump -ddd` with commas for line ends: "1,6 0 0 65535". Not with Filter.
	Program string `json:"program,omitempty"`
}

// errRequest is sent to the client.
type errRequest struct{ text string }

func (e errRequest) Error() string { return e.text }

func refusef(format string, args ...any) error { return errRequest{fmt.Sprintf(format, args...)} }

// readRequest reads a request, if the client sends one in time.
func readRequest(conn net.Conn) (r Request, err error) {
	conn.SetReadDeadline(time.Now().Add(RequestTime))
	defer conn.SetReadDeadline(time.Time{})
	in := bufio.NewReaderSize(conn, maxRequest)
	line, err := in.ReadSlice('\n')
	switch {
	case len(line) == 0: // late, or the client will not send anything
		return r, nil
	case errors.Is(err, bufio.ErrBufferFull):
		return r, refusef("request of more than %d bytes: want a line of JSON", maxRequest)
	case err != nil:
		return r, refusef("request of %d bytes without a line end: want a line of JSON within %v", len(line), RequestTime)
	}
	d := json.NewDecoder(strings.NewReader(string(line)))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return r, refusef(`request: %v: want a line such as {"device":"wg0","snaplen":128,"filter":"tcp port 443"}, or nothing`, err)
	}
	return r, r.check()
}

func (r *Request) check() error {
	switch {
	case r.SnapLen < 0 || r.SnapLen > maxSnapLen:
		return refusef("snaplen %d: want 1 to %d bytes, or 0 for whole packets", r.SnapLen, maxSnapLen)
	case r.Filter != "" && r.Program != "":
		return refusef("filter and program exclude each other: want one of them")
	}
	if _, err := parseProgram(r.Program); err != nil {
		return err
	}
	return nil
}

// parseProgram parses Request.Program; "": nil.
func parseProgram(text string) ([]cbpf.Instruction, error) {
	if text == "" {
		return nil, nil
	}
	lines := strings.Split(text, ",")
	n, err := strconv.Atoi(lines[0])
	if err != nil || n != len(lines)-1 {
		return nil, refusef("program of %d instructions that begins with %q: want their number first", len(lines)-1, lines[0])
	}
	prog := make([]cbpf.Instruction, 0, n)
	for _, line := range lines[1:] {
		var in cbpf.Instruction
		if _, err := fmt.Sscanf(line, "%d %d %d %d", &in.Op, &in.Jt, &in.Jf, &in.K); err != nil {
			return nil, refusef("program: instruction %q: want four numbers, as tcpdump -ddd prints them", line)
		}
		prog = append(prog, in)
	}
	if _, err := cbpf.Compile(prog); err != nil {
		return nil, refusef("program: %v", err)
	}
	return prog, nil
}

// Open sends a request to the server at conn, and returns the stream that it answers with. The
// server's refusal is an error of the first Read. Closing the stream closes conn.
func Open(conn net.Conn, r Request) (io.ReadCloser, error) {
	line, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(append(line, '\n')); err != nil {
		return nil, err
	}
	return &answer{Conn: conn, in: bufio.NewReader(conn)}, nil
}

// answer is a stream, or a refusal.
type answer struct {
	net.Conn
	in      *bufio.Reader
	checked bool
}

// Read implements io.Reader.
func (a *answer) Read(b []byte) (int, error) {
	if a.checked {
		return a.in.Read(b)
	}
	a.checked = true
	if head, _ := a.in.Peek(len(ErrorPrefix)); string(head) != ErrorPrefix {
		return a.in.Read(b)
	}
	line, err := a.in.ReadSlice('\n')
	if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
		return 0, err
	}
	text := strings.TrimSpace(strings.TrimPrefix(string(line), ErrorPrefix))
	return 0, fmt.Errorf("the server refuses: %s", printable.Text(text, '?'))
}
