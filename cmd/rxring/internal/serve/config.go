package serve

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cmd/rxring/internal/feed"
	"github.com/rxring/rxring/cmd/rxring/internal/metrics"
)

// Config is the content of a configuration file. [Default] returns that of an empty file.
type Config struct {
	At        string      // the socket's path; "": DefaultPath
	Mode      fs.FileMode // of the socket's file
	Group     *Principal  // of the socket's file; nil: this process's
	MaxMemory int64       // bytes of ring memory of all users together
	User      *Principal  // that the daemon becomes; nil: it does not change
	Sandbox   bool        // see package sandbox

	Sources []feed.Spec
	Rules   []Rule          // nil: this process's user and root have every right
	Metrics metrics.Address // where Prometheus reads metrics
	Log     Log
}

// Log configures the log.
type Log struct {
	JSON  bool
	Level slog.Level
}

// Default returns the configuration of an empty file.
func Default() *Config {
	return &Config{Mode: 0o600, MaxMemory: rxring.DefaultMaxMemory, Sandbox: true}
}

// maxConfig limits a file, in bytes.
const maxConfig = 1 << 20

// Load reads the file at path.
func Load(path string, res Resolver) (*Config, error) {
	data, err := readConfig(path, "docs/serve.md")
	if err != nil {
		return nil, err
	}
	return Parse(path, data, res)
}

// readConfig reads the file at path; doc describes such files.
func readConfig(path, doc string) ([]byte, error) {
	name := strings.ReplaceAll(path, "\n", `\n`) // the message may have several lines
	unreadable := func(err error) error {
		return fmt.Errorf("--config %s: %w: want a TOML file that user %s can read, as in %s", name, withoutPath(err), UserName(uint32(os.Geteuid())), doc)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, unreadable(err)
	}
	if len(data) > maxConfig {
		return nil, fmt.Errorf("--config %s: it has more than %d bytes: want a TOML file of at most that size", name, maxConfig)
	}
	return data, nil
}

// Parse parses a file's content. The error has a line for each fault: its place in the file,
// the value, and what is allowed.
func Parse(name string, data []byte, res Resolver) (*Config, error) {
	doc, top, err := readDocument(name, data)
	if err != nil {
		return nil, err
	}
	c := Default()
	if at, ok := get[string](top, "at", "a path"); ok {
		if c.At = at; !filepath.IsAbs(at) {
			top.fault("at", "%q: want a path that starts at /", at)
		}
	}
	c.Mode = readMode(top)
	if raw, ok := get[any](top, "group", ""); ok {
		group, err := readPrincipal(raw, res.Group, "group")
		if err != nil {
			top.fault("group", "%v", err)
		}
		c.Group = &group
	}
	c.MaxMemory = cmp.Or(top.size("max_memory"), c.MaxMemory)
	if raw, ok := get[any](top, "user", ""); ok {
		who, err := readPrincipal(raw, res.User, "user")
		if err != nil {
			top.fault("user", "%v", err)
		}
		c.User = &who
	}
	if on, ok := get[bool](top, "sandbox", "true or false"); ok {
		c.Sandbox = on
	}
	for _, t := range top.tables("source") {
		if text, ok := get[string](t, "from", "a source such as \"streams:4\""); ok {
			if s, err := feed.Parse(text); err != nil {
				t.fault("from", "%v", err)
			} else {
				c.Sources = append(c.Sources, s)
			}
		} else if !t.has("from") {
			t.fault("from", "it is missing: want %s", feed.Forms())
		}
		t.done()
	}
	for _, t := range top.tables("allow") {
		c.Rules = append(c.Rules, readRule(t, res))
		t.done()
	}
	if t := top.table("metrics"); t != nil {
		c.Metrics = readMetrics(t)
		t.done()
	}
	if t := top.table("log"); t != nil {
		c.Log = readLog(t)
		t.done()
	}
	top.done()
	if err := doc.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// readMode reads the socket's mode. It is a string because the integers 660 and 0660 differ.
func readMode(t *table) fs.FileMode {
	const want = `a string of octal digits such as "0660"`
	text, ok := get[string](t, "mode", want)
	if !ok {
		return Default().Mode
	}
	mode, err := strconv.ParseUint(text, 8, 32)
	if err != nil || mode > uint64(fs.ModePerm) {
		t.fault("mode", "%q: want %s, at most \"0777\"", text, want)
	}
	return fs.FileMode(mode)
}

func readMetrics(t *table) (m metrics.Address) {
	text, ok := get[string](t, "listen", metrics.WantAddress)
	if !ok {
		if !t.has("listen") {
			t.fault("listen", "it is missing: want %s", metrics.WantAddress)
		}
		return m
	}
	m, err := metrics.ParseAddress(text)
	if err != nil {
		t.fault("listen", "%v", err)
	}
	return m
}

func readLog(t *table) (l Log) {
	if s, ok := get[string](t, "format", `"text" or "json"`); ok {
		switch s {
		case "text", "json":
			l.JSON = s == "json"
		default:
			t.fault("format", `%q: want "text" or "json"`, s)
		}
	}
	const want = `"debug", "info", "warn" or "error"`
	if s, ok := get[string](t, "level", want); ok {
		levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
		if l.Level, ok = levels[s]; !ok {
			t.fault("level", "%q: want %s", s, want)
		}
	}
	return l
}

// path returns the socket's path.
func (c *Config) path() (string, error) {
	if c.At != "" {
		return c.At, nil
	}
	return DefaultPath()
}

// DefaultPath returns the path of this user's socket if no path is configured.
func DefaultPath() (string, error) {
	if os.Geteuid() == 0 {
		return "/run/rxring.sock", nil
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "rxring.sock"), nil
	}
	return "", errors.New("XDG_RUNTIME_DIR is not set, so there is no directory for rxring.sock: want --at PATH, in a directory that only you can write to")
}
