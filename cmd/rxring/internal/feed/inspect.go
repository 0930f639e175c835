package feed

import "context"

// Inspected is a source whose files have been read through: to open it takes no time.
type Inspected struct {
	Spec Spec
	open opener
}

// Inspect finds out what the sources are made of, side by side, until ctx ends. The error is
// of the first that fails; the others are not waited for then.
func Inspect(ctx context.Context, specs []Spec) ([]Inspected, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		i    int
		open opener
		err  error
	}
	results := make(chan result, len(specs)) // no sender waits, should nobody receive
	for i, s := range specs {
		go func() {
			open, err := s.plan.inspect(ctx)
			results <- result{i, open, err}
		}()
	}
	all := make([]Inspected, len(specs))
	for range specs {
		select {
		case <-ctx.Done(): // a file may hang where no context is heard
			return nil, ctx.Err()
		case r := <-results:
			if r.err != nil {
				return nil, specs[r.i].wrap(r.err)
			}
			all[r.i] = Inspected{specs[r.i], r.open}
		}
	}
	return all, nil
}
