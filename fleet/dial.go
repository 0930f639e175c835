package fleet

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// reconnectWait is the time between attempts to reconnect, plus up to as much again.
const reconnectWait = 250 * time.Millisecond

// Dial connects to a NATS server or cluster, such as nats://hub:4222. The connection reconnects
// for ever, and while it is not connected a message is refused at once instead of kept: the
// shipper counts it. Options, such as nats.UserCredentials, are added to these.
//
// [Ship] and [NewReader] work with any connection, but count what a connection keeps and then
// loses only when the other side has told so.
func Dial(url string, options ...nats.Option) (*nats.Conn, error) {
	options = append([]nats.Option{
		nats.Name("rxring"),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait, reconnectWait),
		nats.ReconnectBufSize(-1),
	}, options...)
	nc, err := nats.Connect(url, options...)
	switch {
	case errors.Is(err, nats.ErrNoServers):
		return nil, fmt.Errorf("%s: no NATS server answers there: `rxring hub` runs one: %w", url, err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	return nc, nil
}
