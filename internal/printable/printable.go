// Package printable keeps what other processes say from a terminal's controls.
package printable

import (
	"strings"
	"unicode"
)

// Text is s with what cannot be printed as instead: control characters, and what
// turns the direction of text.
func Text(s string, instead rune) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return instead
	}, s)
}
