package fleet

import (
	"cmp"
	"fmt"
	"strings"
)

// Default names.
const (
	DefaultFleet = "default"
	DefaultClass = "all"
)

// root begins all subjects of this version of the protocol.
const root = "rxring.v1"

// serviceName is the name by which hosts are discovered.
const serviceName = "rxring"

// maxToken is the longest name, in bytes, that a subject may have.
const maxToken = 255

// token returns a name as a token of a subject: what is not a letter, a digit, '-' or '_' is
// percent-encoded.
func token(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		if c == '-' || c == '_' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// checkName refuses names that a subject cannot have.
func checkName(what, name string) error {
	if name == "" || len(name) > maxToken {
		return fmt.Errorf("%s %q: want a name of 1 to %d bytes", what, name, maxToken)
	}
	return nil
}

// hostSubject is where a host answers that it is there, to another one that has its name.
func hostSubject(fleet, host string) string {
	return strings.Join([]string{root, token(fleet), token(host), "ctl"}, ".")
}

// controlSubject is where a host receives requests.
func controlSubject(fleet, host, class string) string {
	return strings.Join([]string{root, token(fleet), token(host), "ctl", token(class)}, ".")
}

// sessionSubject is where a session's batches are published.
func sessionSubject(fleet, host, device, class, id string) string {
	return strings.Join([]string{root, token(fleet), token(host), token(device), "s", token(class), token(id)}, ".")
}

// recordSubject is where a recording's batches are published.
func recordSubject(fleet, host, device, class, name string) string {
	return strings.Join([]string{root, token(fleet), token(host), token(device), "r", token(class), token(name)}, ".")
}

// indexSubject is where a recording is described. Its arguments are tokens, or "*".
func indexSubject(fleet, host, device, class, name string) string {
	return strings.Join([]string{root, fleet, host, device, "i", class, name}, ".")
}

func orFleet(name string) string { return cmp.Or(name, DefaultFleet) }
func orClass(name string) string { return cmp.Or(name, DefaultClass) }
