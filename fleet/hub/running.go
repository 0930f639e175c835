package hub

import (
	"fmt"

	"github.com/nats-io/nats-server/v2/server"
)

// running is a server that accepts connections.
type running struct {
	*server.Server
	unlock func() // releases the store
}

// start starts a server. With JetStream, it has its store for itself.
func start(o *server.Options) (r running, err error) {
	r.unlock = func() {}
	if o.JetStream {
		if r.unlock, err = lockStore(o.StoreDir); err != nil {
			return r, err
		}
	}
	if r.Server, err = server.NewServer(o); err != nil {
		r.unlock()
		return r, err
	}
	r.Start()
	switch {
	case !r.ReadyForConnections(startTime):
		err = fmt.Errorf("the server did not start: is another one listening there, or the store %q not writable?", o.StoreDir)
	case o.JetStream && !r.JetStreamEnabled():
		err = fmt.Errorf("the server has no JetStream: is the store %q not writable?", o.StoreDir)
	default:
		return r, nil
	}
	r.stop()
	return r, err
}

// stop ends the server, and returns once its connections are closed and all is stored.
func (r running) stop() {
	r.Shutdown()
	r.WaitForShutdown()
	r.unlock()
}
