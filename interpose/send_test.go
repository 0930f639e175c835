//go:build linux && (amd64 || arm64)

package interpose

import (
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzReceiver: an address that a program sends to is accepted only if its length covers all
// of it.
func FuzzReceiver(f *testing.F) {
	f.Add([]byte{17, 0, 8, 0, 2, 0, 0, 0, 0, 0, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0})
	f.Add(append([]byte{17, 0, 8, 0, 2, 0, 0, 0, 0, 0, 0, 20}, make([]byte, 20)...))
	f.Add(make([]byte, 19))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseReceiver(b)
		if want := len(b) >= 20 && 12+int(b[11]) <= len(b); want != (err == nil) {
			t.Fatalf("% x: %v", b, err)
		}
		if err == nil && int(a.Halen) > len(a.Addr) {
			t.Errorf("sll_halen %d", a.Halen)
		}
	})
}

// FuzzControl: control messages are walked to their end, whatever lengths they have.
func FuzzControl(f *testing.F) {
	message := func(n uint64, level, typ uint32, rest ...byte) []byte {
		b := binary.NativeEndian.AppendUint64(nil, n)
		b = binary.NativeEndian.AppendUint32(b, level)
		return append(binary.NativeEndian.AppendUint32(b, typ), rest...)
	}
	f.Add(message(20, unix.SOL_SOCKET, unix.SO_PRIORITY, 1, 0, 0, 0))
	f.Add(message(1<<64-1, unix.SOL_SOCKET, unix.SO_MARK))
	f.Add(append(message(17, 77, 77, 0, 0, 0, 0, 0, 0, 0, 0), message(16, unix.SOL_SOCKET, unix.SCM_RIGHTS)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := checkControl(b); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Errorf("% x: %v", b, err)
		}
		if len(b) < 16 && checkControl(b) != nil {
			t.Errorf("% x is refused: no message is in it", b)
		}
	})
}
