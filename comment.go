package rxring

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/rxring/rxring/tpacket"
)

// A socket with the option OptComments has comments in its ring: each lies behind its packet's
// bytes, and a status bit says so. The layout stays Linux's, and a packet without a comment
// takes no more room. A slot has as much of a comment as it has room. A socket whose grant
// hides bytes of packets gets no comments: they may tell more than the packets do.

// maxComment is how many bytes of a comment are kept.
const maxComment = 4096

// stampComment writes the comment, or its beginning, to the room behind a packet, and returns
// the bit of tp_status for it.
func stampComment(room []byte, comment string) (status uint32) {
	if len(room) <= tpacket.SizeofCommentLen {
		return 0
	}
	text := room[tpacket.SizeofCommentLen:]
	n := min(len(comment), len(text), maxComment)
	for n > 0 && n < len(comment) && !utf8.RuneStart(comment[n]) { // no half a character
		n--
	}
	copy(text[:n], comment)
	binary.NativeEndian.PutUint16(room, uint16(n))
	return tpacket.StatusComment
}
