// Package printable keeps what other processes say from a terminal's controls.
package printable

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
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

// Writer writes to w, with a question mark for each character that Text would replace, but
// for line ends and tabs. Each write must have whole characters.
func Writer(w io.Writer) io.Writer { return writer{w} }

type writer struct{ w io.Writer }

func (p writer) Write(b []byte) (int, error) {
	plain := bytes.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, b)
	if _, err := p.w.Write(plain); err != nil {
		return 0, err
	}
	return len(b), nil
}

// JSON is valid JSON with the characters in strings escaped that Text would replace:
// encoding/json and log/slog leave DEL, C1 controls and what turns the direction of text as
// they are. What means the same is not copied.
func JSON(b []byte) []byte {
	i := bytes.IndexFunc(b, unprinted)
	if i < 0 {
		return b
	}
	escaped := bytes.Clone(b[:i])
	for len(b) > i {
		r, n := utf8.DecodeRune(b[i:])
		switch {
		case !unprinted(r):
			escaped = append(escaped, b[i:i+n]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			escaped = fmt.Appendf(escaped, `\u%04x\u%04x`, high, low)
		default:
			escaped = fmt.Appendf(escaped, `\u%04x`, r)
		}
		i += n
	}
	return escaped
}

// unprinted is about characters of JSON, which has no controls but white space between values.
func unprinted(r rune) bool { return r > '~' && !unicode.IsPrint(r) }

// JSONWriter writes JSON to w, escaped as by JSON. Each write must have whole characters.
func JSONWriter(w io.Writer) io.Writer { return jsonWriter{w} }

type jsonWriter struct{ w io.Writer }

func (j jsonWriter) Write(b []byte) (int, error) {
	if _, err := j.w.Write(JSON(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}
