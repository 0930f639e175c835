package feed

import "context"

// Inspected is a spec whose file, if any, has been read through, or whose stream has been opened,
// so that Open does not block.
type Inspected struct {
	Spec  Spec
	open  opener
	close func()
}

// Close closes the stream of a spec that is not opened. A started feed closes its own.
func (i Inspected) Close() { i.close() }

// nothing is the close of a spec that has nothing open.
func nothing() {}

// Inspect reads the files of all specs concurrently, until ctx ends. It returns the first
// error without waiting for the others.
func Inspect(ctx context.Context, specs []Spec) ([]Inspected, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		i     int
		open  opener
		close func()
		err   error
	}
	results := make(chan result, len(specs)) // no sender blocks after an early return
	for i, s := range specs {
		go func() {
			open, discard, err := s.plan.inspect(ctx)
			results <- result{i, open, discard, err}
		}()
	}
	all := make([]Inspected, len(specs))
	for n := range specs {
		var err error
		select {
		case <-ctx.Done(): // opening a file may block regardless of ctx
			err = ctx.Err()
			n--
		case r := <-results:
			if r.err != nil {
				err = specs[r.i].wrap(r.err)
				break
			}
			all[r.i] = Inspected{specs[r.i], r.open, r.close}
		}
		if err == nil {
			continue
		}
		go func() {
			for range len(specs) - n - 1 {
				if r := <-results; r.err == nil {
					r.close()
				}
			}
		}()
		for _, i := range all {
			if i.close != nil {
				i.Close()
			}
		}
		return nil, err
	}
	return all, nil
}
