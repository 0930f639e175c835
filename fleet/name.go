package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode"

	"github.com/rxring/rxring/source/file/delivery"
)

// maxName is the length of the longest device name, in bytes: IFNAMSIZ without its NUL.
const maxName = 15

// hashLen is how many hexadecimal digits stand for the rest of a name that is too long.
const hashLen = 4

// localName returns the name here of a host's device: the device's own or, if there may be several
// hosts, HOST.DEVICE. One that no device can have, or that is taken, is shortened and ends with
// a hash of HOST.DEVICE.
func localName(host, device string, several bool, taken func(string) bool) string {
	whole := host + "." + device
	name := device
	if several {
		name = whole
	}
	if delivery.IsName(name) && !taken(name) {
		return name
	}
	var plain strings.Builder
	for _, c := range []byte(name) {
		if c <= ' ' || c > '~' || c == '/' || c == ':' {
			c = '_'
		}
		plain.WriteByte(c)
	}
	short := plain.String()[:min(plain.Len(), maxName-hashLen-1)]
	sum := sha256.Sum256([]byte(whole))
	digits := hex.EncodeToString(sum[:])
	for i := 0; i+hashLen < len(digits); i++ {
		if name = short + "~" + digits[i:i+hashLen]; !taken(name) {
			break
		}
	}
	return name
}

// maxAlias is the length of the longest alias of a device, in bytes: IFALIASZ without its NUL.
const maxAlias = 255

// alias returns the device's long name here, HOST/DEVICE, without what an alias cannot have.
func alias(host, device string) string {
	whole := strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return '_'
		}
		return c
	}, host+"/"+device)
	return whole[:min(len(whole), maxAlias)]
}
