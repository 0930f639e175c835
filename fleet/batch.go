package fleet

import (
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// Limits of a batch.
const (
	maxBatch = 256 << 10             // bytes of pcapng, unless it has one longer packet
	linger   = 40 * time.Millisecond // after the previous one, beside retire
	retire   = 10 * time.Millisecond // a packet is in the tap's ring at most
)

// maxDecoded bounds what a batch may decompress to, in bytes: the longest packet and its headers
// are shorter.
const maxDecoded = 2 * maxBatch

// counts are those of a session since it began. Offered packets are those before the batch, the
// ones in it, those in the tap's ring, Dropped and Lost.
type counts struct {
	Batches uint64 `json:"batches"` // before this one
	Packets uint64 `json:"packets"` // in them
	Offered uint64 `json:"offered"` // accepted by the filter
	Dropped uint64 `json:"dropped"` // the tap's ring was full
	Lost    uint64 `json:"lost"`    // before the far device
	Cut     uint64 `json:"cut"`     // packets truncated by the snapshot length, or by the server's limit
}

// batch is a message of a session: a section of pcapng, or nothing but counts.
type batch struct {
	Session  string
	Sent     time.Time
	End      string // why the session has ended; "": it goes on
	Encoding string // of the payload: see Compression
	counts
}

// Headers of a batch.
const (
	headerSession  = "Rxring-Session"
	headerSent     = "Rxring-Sent" // nanoseconds since the Unix epoch
	headerEnd      = "Rxring-End"
	headerEncoding = "Content-Encoding"
)

// fields lists the counts with their headers.
func (c *counts) fields() [6]struct {
	header string
	n      *uint64
} {
	return [...]struct {
		header string
		n      *uint64
	}{
		{"Rxring-Batch", &c.Batches},
		{"Rxring-Packets-Before", &c.Packets},
		{"Rxring-Offered", &c.Offered},
		{"Rxring-Dropped", &c.Dropped},
		{"Rxring-Lost", &c.Lost},
		{"Rxring-Cut", &c.Cut},
	}
}

func (b *batch) header() nats.Header {
	h := nats.Header{
		headerSession: {b.Session},
		headerSent:    {strconv.FormatInt(b.Sent.UnixNano(), 10)},
	}
	for _, f := range b.fields() {
		h[f.header] = []string{strconv.FormatUint(*f.n, 10)}
	}
	if b.End != "" {
		h[headerEnd] = []string{b.End}
	}
	if b.Encoding != "" {
		h[headerEncoding] = []string{b.Encoding}
	}
	return h
}

// parseBatch reads the headers of a message.
func parseBatch(h nats.Header) (b batch, err error) {
	b.Session, b.End, b.Encoding = h.Get(headerSession), h.Get(headerEnd), h.Get(headerEncoding)
	if b.Session == "" {
		return b, fmt.Errorf("batch without %s: want one that rxring ship has sent", headerSession)
	}
	for _, f := range b.fields() {
		if *f.n, err = strconv.ParseUint(h.Get(f.header), 10, 63); err != nil {
			return b, fmt.Errorf("batch with %s %q: want a number", f.header, h.Get(f.header))
		}
	}
	sent, err := strconv.ParseInt(h.Get(headerSent), 10, 64)
	if err != nil {
		return b, fmt.Errorf("batch with %s %q: want nanoseconds since the Unix epoch", headerSent, h.Get(headerSent))
	}
	b.Sent = time.Unix(0, sent)
	return b, nil
}
