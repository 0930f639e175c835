// The compare program compares the figures of several runs with those of others:
//
//	compare OLD.json... -- NEW.json...
//
// The files are what table -json writes. make bench-against makes them, in turn.
package main

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/rxring/rxring/bench"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	at := slices.Index(args, "--")
	if at < 1 || at == len(args)-1 {
		return errors.New("want OLD.json... -- NEW.json..., files that table -json has written")
	}
	before, err := read(args[:at])
	if err != nil {
		return err
	}
	after, err := read(args[at+1:])
	if err != nil {
		return err
	}
	bench.Compare(os.Stdout, before, after)
	return nil
}

func read(paths []string) (*bench.Figures, error) {
	var all []*bench.Figures
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		figures, err := bench.ReadFigures(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, figures)
	}
	return bench.Merge(all), nil
}
