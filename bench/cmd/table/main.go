// The table program measures rxring beside its peers and prints the result.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/rxring/rxring/bench"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	c := bench.Config{Log: os.Stderr}
	flag.IntVar(&c.Rounds, "count", 5, "samples of each contender in each situation, taken in turn")
	flag.DurationVar(&c.Budget, "sample", 100*time.Millisecond, "time on the clock, a sample")
	only := flag.String("only", "", "measure what matches this `regexp`, such as ^Path/rxring or /64.B$")
	markdown := flag.Bool("markdown", false, "print markdown")
	raw := flag.String("raw", "", "write each sample to this `file`, for benchstat")
	jsonPath := flag.String("json", "", "write all medians and samples to this `file`")
	against := flag.String("against", "", "compare with the medians in this `file`, which -json wrote; none: do not compare (default the last release's)")
	profile := flag.String("cpuprofile", "", "write a CPU profile to this `file`")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("argument %q: want none", flag.Arg(0))
	}
	if *only != "" {
		if c.Only, err = regexp.Compile(*only); err != nil {
			return err
		}
	}
	if c.Against, err = olderFigures(*against); err != nil {
		return err
	}
	var figures *os.File
	if *jsonPath != "" { // before the run, which takes minutes
		if figures, err = os.Create(*jsonPath); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, figures.Close()) }()
	}
	if *raw != "" {
		f, err2 := os.Create(*raw)
		if err2 != nil {
			return err2
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		c.Raw = f
	}
	if *profile != "" {
		f, err2 := os.Create(*profile)
		if err2 != nil {
			return err2
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	r, err := bench.Run(ctx, c)
	if err != nil {
		return err
	}
	if figures != nil {
		if err := r.Figures().Write(figures); err != nil {
			return err
		}
	}
	if *markdown {
		r.Markdown(os.Stdout, strings.Join(append([]string{"go run ./cmd/table"}, os.Args[1:]...), " "))
		return nil
	}
	r.Text(os.Stdout)
	return nil
}

// olderFigures reads a file of figures: "" is the last release's, "none" is none.
func olderFigures(path string) (*bench.Figures, error) {
	switch path {
	case "":
		return bench.Release()
	case "none":
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	figures, err := bench.ReadFigures(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return figures, nil
}
