package top

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/term"

	"github.com/rxring/rxring/internal/printable"
)

// Config says what to look at, and how.
type Config struct {
	Path     string
	Source   Source        // nil: the server at Path
	Interval time.Duration // from one look to the next; 0: LiveInterval or PrintInterval
	Order    Order
}

const (
	LiveInterval  = 250 * time.Millisecond
	PrintInterval = time.Second

	// rateWindow is what rates on the screen are over: they could not be read if
	// they changed with every look.
	rateWindow = time.Second

	// retryAfter is when a server that has gone is looked for again.
	retryAfter = time.Second
)

func (c *Config) source() Source {
	if c.Source != nil {
		return c.Source
	}
	return &server{path: c.Path}
}

// ErrNoTerminal is what Live returns where nobody could see it.
var ErrNoTerminal = errors.New("not a terminal")

// Live shows c's namespace on the terminal out until the user at in has enough or
// ctx ends. It fails if the server is not there at the start; one that goes away
// later is waited for. On a terminal that cannot move its cursor (TERM=dumb) it
// prints frames one below the other.
func Live(ctx context.Context, c Config, in, out *os.File) error {
	if !term.IsTerminal(out.Fd()) {
		return fmt.Errorf("standard output is %w: want --once for one frame of text, or --json", ErrNoTerminal)
	}
	if os.Getenv("TERM") == "dumb" {
		return Print(ctx, c, out, Endless, Text(c.Path, Width(out), c.Order))
	}
	if !term.IsTerminal(in.Fd()) {
		return fmt.Errorf("standard input is %w, so no key could end it: want --once for one frame of text, or --json", ErrNoTerminal)
	}
	return live(ctx, c, tea.WithInput(in), tea.WithOutput(out))
}

func live(ctx context.Context, c Config, options ...tea.ProgramOption) error {
	if c.Interval == 0 {
		c.Interval = LiveInterval
	}
	ctx, cancel := context.WithCancel(ctx)
	s := sampler{source: c.source(), history: History{Window: rateWindow}}
	stop := context.AfterFunc(ctx, func() { s.source.Close() })
	defer stop()
	defer s.source.Close()
	defer cancel()

	first, err := s.next(ctx)
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	m := &model{latest: first, screen: screen{
		path: c.Path, report: first, order: c.Order, live: true, colors: colors(),
		width: defaultWidth, height: defaultHeight,
	}}
	p := tea.NewProgram(m, options...)
	quit := context.AfterFunc(ctx, p.Quit) // tea.WithContext would leave a goroutine that reads the terminal
	defer quit()
	var asking sync.WaitGroup
	asking.Go(func() {
		wait := c.Interval
		for sleep(ctx, wait) == nil {
			r, err := s.next(ctx)
			if err != nil {
				wait = max(c.Interval, retryAfter)
				p.Send(lostMsg{err})
				continue
			}
			wait = c.Interval
			p.Send(reportMsg{r})
		}
	})
	_, err = p.Run()
	quit()
	cancel()
	asking.Wait()
	if errors.Is(err, tea.ErrInterrupted) {
		return nil
	}
	return err
}

// sleep waits for d; the error says that ctx has ended before.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Endless is a count of reports that Print prints until its context ends.
const Endless = 0

// Print prints n reports, each c.Interval after the one before and with the rates
// over that time. It returns nil when ctx ends.
func Print(ctx context.Context, c Config, w io.Writer, n int, print Printer) error {
	if c.Interval == 0 {
		c.Interval = PrintInterval
	}
	s := sampler{source: c.source()}
	stop := context.AfterFunc(ctx, func() { s.source.Close() })
	defer stop()
	defer s.source.Close()

	_, err := s.next(ctx)
	for i := 0; err == nil && (n == Endless || i < n); i++ {
		if sleep(ctx, c.Interval) != nil {
			return nil
		}
		var r *Report
		if r, err = s.next(ctx); err == nil {
			err = print(w, r, i)
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Printer prints report i.
type Printer func(w io.Writer, r *Report, i int) error

// Text prints frames of lines of at most width columns, or as long as they get if width
// is 0, with an empty line between them.
func Text(path string, width int, o Order) Printer {
	return func(w io.Writer, r *Report, i int) error {
		s := screen{path: path, report: r, order: o, width: width}
		text := strings.Join(s.lines(), "\n") + "\n"
		if i > 0 {
			text = "\n" + text
		}
		_, err := io.WriteString(w, text)
		return err
	}
}

// JSON prints each report as one line.
func JSON(w io.Writer, r *Report, _ int) error {
	return json.NewEncoder(printable.JSONWriter(w)).Encode(r)
}

// Width is how many columns f has if it is a terminal, or 80 if it does not know. It is 0
// for pipes and files: in what is kept or searched, nothing is cut off.
func Width(f *os.File) int {
	if !term.IsTerminal(f.Fd()) {
		return 0
	}
	if w, _, err := term.GetSize(f.Fd()); err == nil && w > 0 {
		return w
	}
	return defaultWidth
}
