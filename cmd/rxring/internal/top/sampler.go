package top

import (
	"context"
	"sync"

	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cmd/rxring/internal/dialer"
)

// Source returns the status of a namespace.
type Source interface {
	// Status may dial, until ctx ends. After an error it may be called again.
	Status(ctx context.Context) (attach.Status, error)
	// Close interrupts a call of Status.
	Close() error
}

// server is a Source that connects, and reconnects, on demand.
type server struct {
	path string

	mu     sync.Mutex
	client *attach.Client // nil: there is no connection
	closed bool
}

func (s *server) Status(ctx context.Context) (attach.Status, error) {
	c, err := s.connection(ctx)
	if err != nil {
		return attach.Status{}, err
	}
	st, err := c.Status()
	if err != nil {
		if why := c.Err(); why != nil {
			err = why // more specific
		}
		s.drop(c)
	}
	return st, err
}

// connection returns the open connection, or a new one.
func (s *server) connection(ctx context.Context) (*attach.Client, error) {
	s.mu.Lock()
	c := s.client
	s.mu.Unlock()
	if c != nil {
		return c, nil
	}
	c, err := dialer.Dial(ctx, s.path)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
		return nil, context.Canceled
	}
	s.client = c
	return c, nil
}

// drop closes a connection that has failed.
func (s *server) drop(c *attach.Client) {
	s.mu.Lock()
	if s.client == c {
		s.client = nil
	}
	s.mu.Unlock()
	c.Close()
}

func (s *server) Close() error {
	s.mu.Lock()
	c := s.client
	s.client, s.closed = nil, true
	s.mu.Unlock()
	if c == nil {
		return nil
	}
	return c.Close()
}

// Sampler makes reports of a Source, with the names of readers. It must not be used
// concurrently.
type Sampler struct {
	Source  Source
	History History

	names names
}

// Next returns a report of now, with rates since the last one.
func (s *Sampler) Next(ctx context.Context) (*Report, error) {
	st, err := s.Source.Status(ctx)
	if err != nil {
		return nil, err
	}
	r := s.History.Next(st)
	if f, ok := s.Source.(*fleetSource); ok {
		f.describe(r)
	} else {
		s.names.addTo(r)
	}
	return r, nil
}
