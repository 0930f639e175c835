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

// Config says which namespace to show, and how.
type Config struct {
	Path     string        // of the unix socket
	Source   Source        // nil: the server at Path
	Interval time.Duration // between statuses; 0: LiveInterval or PrintInterval
	Order    Order
}

const (
	LiveInterval  = 250 * time.Millisecond
	PrintInterval = time.Second

	// rateWindow is the time that rates on the screen are measured over: longer than
	// LiveInterval, or they would change too fast to read.
	rateWindow = time.Second

	// restAfterStatus keeps the statuses of very many devices from taking more than a fifth of
	// a processor.
	restAfterStatus = 4

	// retryAfter is the time between attempts to reconnect.
	retryAfter = time.Second
)

func (c *Config) source() Source {
	if c.Source != nil {
		return c.Source
	}
	return &server{path: c.Path}
}

// ErrNoTerminal is returned by Live if standard input or output is no terminal.
var ErrNoTerminal = errors.New("not a terminal")

// Live shows the namespace on the terminal out until the user quits or ctx ends. It fails
// if it cannot connect at first; later it reconnects. On a terminal that cannot move its
// cursor (TERM=dumb) it prints one frame below the other.
func Live(ctx context.Context, c Config, in, out *os.File) error {
	if !term.IsTerminal(out.Fd()) {
		return fmt.Errorf("standard output is %w: want --once for one frame of text, or --json", ErrNoTerminal)
	}
	if os.Getenv("TERM") == "dumb" {
		return Print(ctx, c, out, Endless, Text(c.Path, Width(out), c.Order))
	}
	if !term.IsTerminal(in.Fd()) {
		return fmt.Errorf("standard input is %w, so no key could quit: want --once for one frame of text, or --json", ErrNoTerminal)
	}
	return live(ctx, c, tea.WithInput(in), tea.WithOutput(out))
}

func live(ctx context.Context, c Config, options ...tea.ProgramOption) error {
	if c.Interval == 0 {
		c.Interval = LiveInterval
	}
	ctx, cancel := context.WithCancel(ctx)
	s := Sampler{Source: c.source(), History: History{Window: rateWindow}}
	stop := context.AfterFunc(ctx, func() { s.Source.Close() })
	defer stop()
	defer s.Source.Close()
	defer cancel()

	first, err := s.Next(ctx)
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
	var requests sync.WaitGroup
	requests.Go(func() {
		wait := c.Interval
		for sleep(ctx, wait) == nil {
			began := time.Now()
			r, err := s.Next(ctx)
			if err != nil {
				wait = max(c.Interval, retryAfter)
				p.Send(lostMsg{err})
				continue
			}
			wait = max(c.Interval, restAfterStatus*time.Since(began))
			p.Send(reportMsg{r})
		}
	})
	_, err = p.Run()
	quit()
	cancel()
	requests.Wait()
	if errors.Is(err, tea.ErrInterrupted) {
		return nil
	}
	return err
}

// sleep waits for d, or returns ctx's error if it ends first.
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

// Endless has Print print reports until its context ends.
const Endless = 0

// Print prints n reports, one each c.Interval, with rates over that time. It returns nil
// when ctx ends.
func Print(ctx context.Context, c Config, w io.Writer, n int, printer Printer) error {
	if c.Interval == 0 {
		c.Interval = PrintInterval
	}
	s := Sampler{Source: c.source()}
	stop := context.AfterFunc(ctx, func() { s.Source.Close() })
	defer stop()
	defer s.Source.Close()

	_, err := s.Next(ctx)
	for i := 0; err == nil && (n == Endless || i < n); i++ {
		if sleep(ctx, c.Interval) != nil {
			return nil
		}
		var r *Report
		if r, err = s.Next(ctx); err == nil {
			err = printer(w, r, i)
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Printer prints report i.
type Printer func(w io.Writer, r *Report, i int) error

// Text returns a Printer of frames, whose lines have at most width columns, or any length
// if width is 0. Frames are separated by an empty line.
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

// Width returns the columns of f if it is a terminal, 80 if the terminal does not report
// them, and 0 for pipes and files, whose lines are not truncated.
func Width(f *os.File) int {
	if !term.IsTerminal(f.Fd()) {
		return 0
	}
	if w, _, err := term.GetSize(f.Fd()); err == nil && w > 0 {
		return w
	}
	return defaultWidth
}
