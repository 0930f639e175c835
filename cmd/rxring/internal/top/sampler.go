package top

import (
	"context"
	"sync"

	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cmd/rxring/internal/dialer"
)

// Source tells what happens in a namespace.
type Source interface {
	// Status may dial, until ctx ends. An error may be gone the next time.
	Status(ctx context.Context) (attach.Status, error)
	// Close ends a Status that is under way.
	Close() error
}

// server is a Source that dials when there is no connection.
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
			err = why // it says more
		}
		s.drop(c)
	}
	return st, err
}

// connection is the one there is, or a new one.
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

// drop ends a connection that is of no use.
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

// sampler makes reports. It is for one goroutine.
type sampler struct {
	source  Source
	history History
	names   names
}

func (s *sampler) next(ctx context.Context) (*Report, error) {
	st, err := s.source.Status(ctx)
	if err != nil {
		return nil, err
	}
	r := s.history.Next(st)
	s.names.fill(r)
	return r, nil
}
