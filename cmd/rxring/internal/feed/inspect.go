package feed

import "context"

// Inspected is a spec whose file, if any, has been read through, so that Open does not block.
type Inspected struct {
	Spec Spec
	open opener
}

// Inspect reads the files of all specs concurrently, until ctx ends. It returns the first
// error without waiting for the others.
func Inspect(ctx context.Context, specs []Spec) ([]Inspected, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		i    int
		open opener
		err  error
	}
	results := make(chan result, len(specs)) // no sender blocks after an early return
	for i, s := range specs {
		go func() {
			open, err := s.plan.inspect(ctx)
			results <- result{i, open, err}
		}()
	}
	all := make([]Inspected, len(specs))
	for range specs {
		select {
		case <-ctx.Done(): // opening a file may block regardless of ctx
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
