package main

import (
	"context"
	"log/slog"
)

// sayHandler writes the messages of a log as rxring writes its own, without attributes.
type sayHandler struct{}

func (sayHandler) Enabled(context.Context, slog.Level) bool { return true }

func (sayHandler) Handle(_ context.Context, r slog.Record) error {
	say("%s", r.Message)
	return nil
}

func (h sayHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h sayHandler) WithGroup(string) slog.Handler      { return h }
