package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cmd/rxring/internal/feed"
	"github.com/rxring/rxring/cmd/rxring/internal/logqueue"
	"github.com/rxring/rxring/cmd/rxring/internal/metrics"
	"github.com/rxring/rxring/cmd/rxring/internal/page"
	"github.com/rxring/rxring/cmd/rxring/internal/sandbox"
)

// Options are the command line's.
type Options struct {
	At   string      // the socket's path; "": the file's, or DefaultPath
	From []feed.Spec // added to the file's

	// Config reads the file, at the start and after each value of Reload. nil: there is
	// no file.
	Config func() (*Config, error)
	Reload <-chan os.Signal

	Log io.Writer // it may block: only the log waits for it

	Page Page

	Confine Confinement
}

// server is the daemon.
type server struct {
	opts   Options
	level  slog.LevelVar
	log    *slog.Logger
	config atomic.Pointer[Config]
	next   atomic.Pointer[Config] // of a reload, while its sources are inspected; or nil
	meter  *meter

	auditor  auditor
	confined sandbox.State

	sources  *sources
	attach   *attach.Server
	handed   bool // the socket was passed, by systemd or by the process that entered the sandbox
	exporter *metrics.Server
	page     *page.Server // nil: there is none
}

// ConfigError is a mistake in the command line or the file.
type ConfigError struct{ error }

func (e ConfigError) Unwrap() error { return e.error }

// Run runs the daemon until ctx ends. Errors after the start are in the log, too.
func Run(ctx context.Context, o Options) error {
	s := &server{opts: o, meter: newMeter()}
	c, err := background(ctx, s.load)
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return ConfigError{err}
	}
	s.config.Store(c)
	s.level.Set(c.Log.Level)
	swapped := !allowLocking(c.MaxMemory)
	if err := s.confine(ctx, c); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return nil
	}
	queue := logqueue.New(o.Log, c.Log.JSON)
	defer queue.Close()
	s.meter.lostLines = queue.Lost
	s.log = queue.Logger(&s.level)
	feed.SetWarnings(func(text string) { s.log.Warn("the network stack of a streams: source warns", "text", text) })
	feed.SetCommandErrors(func(command, line string) {
		s.log.Warn("the command of a source prints", "command", command, "text", line)
	})
	if swapped {
		s.log.Warn("memory of rings may be swapped out, which delays all readers", "max_memory", c.MaxMemory,
			"advice", "let rxring lock as many bytes: LimitMEMLOCK= of systemd, or ulimit -l")
	}
	if err := s.open(ctx, c); err != nil && ctx.Err() == nil {
		return errors.Join(err, s.close())
	}
	if ctx.Err() == nil {
		s.filterCalls(c)
		s.ready()
		s.serve(ctx)
	}
	notify(daemon.SdNotifyStopping)
	s.log.Info("stopping")
	err = s.close()
	if err != nil {
		s.failed("error while stopping", err)
	}
	return err
}

// serve handles reloads until ctx ends.
func (s *server) serve(ctx context.Context) {
	r := new(reload) // none
	for {
		select {
		case <-ctx.Done():
			r.end()
			return
		case <-s.opts.Reload:
			r.end()
			r = s.beginReload(ctx)
		case step := <-r.steps:
			step()
		}
	}
}

// load returns the configuration of the file and the command line together.
func (s *server) load() (*Config, error) {
	c := Default()
	if s.opts.Config != nil {
		var err error
		if c, err = s.opts.Config(); err != nil {
			return nil, err
		}
	}
	if s.opts.At != "" {
		c.At = s.opts.At
	}
	c.Sandbox = c.Sandbox && !s.opts.Confine.Unsafe
	c.Sources = slices.Concat(c.Sources, s.opts.From)
	if len(c.Sources) == 0 {
		return nil, fmt.Errorf("nothing to offer: want --from %s, or [[source]] in the file of --config", feed.Forms())
	}
	return c, nil
}

func (s *server) open(ctx context.Context, c *Config) error {
	shares, reserved := c.reserve()
	ns := rxring.NewNamespace(rxring.NamespaceConfig{MaxMemory: c.MaxMemory, Reserved: reserved})
	s.sources = newSources(ns, s.log)
	d := s.sources.compare(c.Sources)
	inspected, err := feed.Inspect(ctx, d.missing)
	if err != nil {
		return fmt.Errorf("source %w", err)
	}
	change, err := s.sources.prepare(d, inspected)
	if err != nil {
		return err
	}
	if err := s.sources.commit(change); err != nil {
		return err
	}
	if c.Metrics.Network != "" {
		if s.exporter, err = metrics.Serve(c.Metrics, s.meter, s.log); err != nil {
			return err
		}
		s.log.Info("metrics", "listen", s.exporter.Addr())
	}
	s.attach, s.handed, err = listen(c, attach.Config{
		Namespace: ns,
		Grant:     func(p attach.Peer) (attach.Grant, error) { return grantOfBoth(s.config.Load(), s.next.Load(), p) },
		Reserve:   func(uid uint32) int64 { return shares[uid] },
		Notify: func(e attach.Event) {
			s.auditor.audit(s.log, e, s.meter.note(e))
		},
		Describe: s.sources.describe,
	})
	if err != nil {
		return err
	}
	s.meter.setStatus(s.attach.Status)
	s.sources.announce(change) // after the socket exists
	return s.openPage()
}

// ready logs that programs can attach, and notifies systemd.
func (s *server) ready() {
	c := s.config.Load()
	s.log.Info("offered", "at", cmp.Or(s.confined.Path, s.attach.Addr()), "by_systemd", s.handed && s.confined.Path == "", "rules", len(c.Rules))
	if systemds := s.handed && s.confined.Path == ""; !systemds && !c.reachable() {
		s.log.Warn("the socket's mode refuses users of the rules", "mode", fmt.Sprintf("%04o", uint32(c.Mode)),
			"advice", `want mode = "0660" and a group that they are in, or mode = "0666": rxring serve --check lists them`)
	}
	notify(daemon.SdNotifyReady)
}

// notify notifies systemd, if it started the daemon.
func notify(state string) { daemon.SdNotify(false, state) }

// failed logs an error, one line for each error that it joins.
func (s *server) failed(what string, err error) {
	for line := range strings.Lines(err.Error()) {
		s.log.Error(what, "err", strings.TrimSuffix(line, "\n"))
	}
}

// changed logs what a reload has changed, and what takes effect only after a restart.
func (s *server) changed(old, next *Config) {
	equal := slices.EqualFunc(old.Rules, next.Rules, func(a, b Rule) bool { return a.equal(&b) })
	s.log.Info("reloaded", "rules", len(next.Rules), "rules_changed", !equal, "sources", len(next.Sources))
	if !s.handed {
		if err := s.attach.SetSocketPerms(next.setSocketPerms); err != nil {
			s.log.Error("the mode and group of the socket's file were not changed", "err", err)
		}
	}
	for _, k := range []struct {
		key     string
		changed bool
	}{
		{"at", old.At != next.At},
		{"max_memory", old.MaxMemory != next.MaxMemory},
		{"metrics", old.Metrics != next.Metrics},
		{"sandbox", old.Sandbox != next.Sandbox},
		{"user", !reflect.DeepEqual(old.User, next.User)},
		{"log.format", old.Log.JSON != next.Log.JSON},
		{"mode", s.confined.Path != "" && old.Mode != next.Mode},
		{"group", s.confined.Path != "" && !reflect.DeepEqual(old.Group, next.Group)},
	} {
		if k.changed {
			s.log.Warn("change takes effect after a restart", "key", k.key)
		}
	}
}

// close ends everything, readers first.
func (s *server) close() error {
	var errs []error
	if s.page != nil {
		errs = append(errs, s.page.Close())
	}
	if s.attach != nil {
		errs = append(errs, s.attach.Close())
	}
	if s.exporter != nil {
		errs = append(errs, s.exporter.Close())
	}
	if s.sources != nil {
		errs = append(errs, s.sources.Close())
	}
	return errors.Join(errs...)
}
