//go:build explore

package explore

// Result is what a search found.
type Result struct {
	States, Runs int
	Traces       map[Fault][]string // the shortest that it came upon, of each
}

// Search runs the worlds that start makes, one schedule after the other.
func Search(start func() World) Result {
	type node struct {
		actions []action
		next    int
	}
	found := Result{Traces: make(map[Fault][]string)}
	seen := make(map[Key]struct{})
	var path []node
	for {
		found.Runs++
		w := start()
		s := w.stage()
		do := func(a action) {
			s.do(a)
			w.Sample()
		}
		for _, n := range path {
			do(n.actions[n.next])
		}
		for !s.over {
			k := w.Key()
			if _, ok := seen[k]; ok {
				break
			}
			seen[k] = struct{}{}
			actions := s.enabled()
			if len(actions) == 0 {
				running = nil
				w.Finish()
				break
			}
			path = append(path, node{actions, 0})
			do(actions[0])
		}
		for _, f := range s.faults {
			if t, ok := found.Traces[f]; !ok || len(s.trace) < len(t) {
				found.Traces[f] = written(w)
			}
		}
		s.stop()
		for len(path) > 0 {
			top := &path[len(path)-1]
			if top.next++; top.next < len(top.actions) {
				break
			}
			path = path[:len(path)-1]
		}
		if len(path) == 0 {
			found.States = len(seen)
			return found
		}
	}
}

// written is w's trace in words.
func written(w World) (lines []string) {
	for _, e := range w.stage().trace {
		lines = append(lines, e.write(w))
	}
	return lines
}
