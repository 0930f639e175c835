package attach

import (
	"errors"
	"syscall"
	"testing"
)

func TestRemoteErrorHasNoTerminalControls(t *testing.T) {
	for text, want := range map[string]string{
		`"wg0": no such device, µ`:        `"wg0": no such device, µ`,
		"\x1b]0;title\a\x1b[2Jno\r\nroom": "�]0;title��[2Jno��room",
		"\xff\u202e":                      "��",
		"":                                syscall.ENODEV.Error(),
	} {
		err := newRemoteError(syscall.ENODEV, []byte(text))
		if err.Error() != want || !errors.Is(err, syscall.ENODEV) {
			t.Errorf("%q: %q, want %q", text, err, want)
		}
	}
}
