//go:build linux && (amd64 || arm64)

package launcher

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strconv"
	"syscall"
)

// Job is the first message to the launcher.
type Job struct {
	Path, Dir string
	Args, Env []string
	Ignored   []syscall.Signal // by the program, when it starts
	Filter    []syscall.SockFilter
}

// jobHead is what a job begins with. Its strings follow, each with a zero byte: the path, the
// directory, the arguments and the environment. Then comes the filter.
type jobHead struct {
	Strings uint32 // bytes
	Args    uint32
	Ignored uint32 // bit n: signal n
	Filter  uint32 // instructions
}

// Order is a message to the launcher, after its job.
type Order struct {
	Op     Op
	Signal uint8
}

// Op is what to do.
type Op uint8

const (
	Go      Op = iota // start the program: its calls are served now
	Forward           // pass on a signal that the parent got, unless the program got it, too
	Signal            // send the program a signal
	Kill              // kill everything
)

// Event is a message from the launcher.
type Event struct {
	Kind  Kind
	Step  Step // Refused: that failed
	Value uint32
}

// Kind says what happened.
type Kind uint8

const (
	Refused    Kind = iota // there is no listener; Value: the errno of Step
	Listening              // the listener accompanies this; Value: 1 if only a fatal signal interrupts calls that were received
	Started                // the program runs
	NotStarted             // Value: errno
	Exited                 // the program has ended, its descendants may still run; Value: wait status
)

// Step is what the launcher does before the program starts.
type Step uint8

const (
	Subreaper Step = iota
	NoNewPrivs
	Seccomp
	Sendmsg
)

// String is the name of the call in question.
func (s Step) String() string {
	return [...]string{Subreaper: "PR_SET_CHILD_SUBREAPER", NoNewPrivs: "PR_SET_NO_NEW_PRIVS", Seccomp: "seccomp", Sendmsg: "sendmsg"}[s]
}

// EventSize is the size of an encoded event.
var EventSize = binary.Size(Event{})

// Send sends an [Order] or an [Event] with one write.
func Send[M Order | Event](w io.Writer, message M) error {
	return binary.Write(w, binary.NativeEndian, message)
}

// Receive receives the [Order] or [Event] that was sent.
func Receive[M Order | Event](r io.Reader, message *M) error {
	return binary.Read(r, binary.NativeEndian, message)
}

// SendJob sends a job. Its strings must have no zero byte, as for execve.
func SendJob(w io.Writer, j *Job) error {
	var text []byte
	for _, s := range slices.Concat([]string{j.Path, j.Dir}, j.Args, j.Env) {
		text = append(append(text, s...), 0)
	}
	h := jobHead{Strings: uint32(len(text)), Args: uint32(len(j.Args)), Filter: uint32(len(j.Filter))}
	for _, sig := range j.Ignored {
		h.Ignored |= 1 << sig
	}
	b, _ := binary.Append(nil, binary.NativeEndian, h) // its errors are of types without a size
	b = append(b, text...)
	b, _ = binary.Append(b, binary.NativeEndian, j.Filter)
	_, err := w.Write(b)
	return err
}

// Bounds of a job: execve takes fewer bytes, and seccomp no more instructions (BPF_MAXINSNS).
const (
	maxStrings = 64 << 20
	maxFilter  = 4096
)

// ReceiveJob receives a job.
func ReceiveJob(r io.Reader) (*Job, error) {
	var h jobHead
	if err := binary.Read(r, binary.NativeEndian, &h); err != nil {
		return nil, jobError(err)
	}
	if h.Strings > maxStrings || h.Filter == 0 || h.Filter > maxFilter {
		return nil, errors.New("job: " + strconv.Itoa(int(h.Strings)) + " bytes of strings and " + strconv.Itoa(int(h.Filter)) + " instructions: want one of this program's")
	}
	text := make([]byte, h.Strings)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, jobError(err)
	}
	j := &Job{Filter: make([]syscall.SockFilter, h.Filter)}
	if err := binary.Read(r, binary.NativeEndian, j.Filter); err != nil {
		return nil, jobError(err)
	}
	var all []string
	for s := range bytes.SplitSeq(text, []byte{0}) {
		all = append(all, string(s))
	}
	all = all[:len(all)-1] // what follows the last zero byte
	if uint64(len(all)) < 2+uint64(h.Args) {
		return nil, errors.New("job: " + strconv.Itoa(len(all)) + " strings and " + strconv.Itoa(int(h.Args)) + " arguments: want a path and a directory, too")
	}
	j.Path, j.Dir, j.Args, j.Env = all[0], all[1], all[2:2+h.Args], all[2+h.Args:]
	for sig := range syscall.Signal(32) {
		if h.Ignored>>sig&1 != 0 {
			j.Ignored = append(j.Ignored, sig)
		}
	}
	return j, nil
}

// jobError is an error that says what was received. Package fmt is too late to wrap it: see doc.go.
func jobError(err error) error { return errors.New("job: " + err.Error()) }
