package main

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rxring/rxring/cmd/rxring/internal/metrics"
	"github.com/rxring/rxring/internal/printable"
)

// metricsFlag is the flag --metrics.
type metricsFlag struct {
	text string
	at   metrics.Address
}

func (f *metricsFlag) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.text, "metrics", "", "serve metrics for Prometheus at this `ADDRESS`: unix:PATH, or a loopback address and port such as 127.0.0.1:9100")
}

func (f *metricsFlag) parse(cmd *cobra.Command) (err error) {
	if !cmd.Flags().Changed("metrics") {
		return nil
	}
	if f.at, err = metrics.ParseAddress(f.text); err != nil {
		return &exitError{exitUsage, fmt.Errorf("--metrics %w", err)}
	}
	return nil
}

// serve serves the metrics of c, if the flag was given, until stop is called.
func (f *metricsFlag) serve(command string, c prometheus.Collector) (stop func(), err error) {
	if f.at.Network == "" {
		return func() {}, nil
	}
	s, err := metrics.Serve(f.at, c, slog.New(slog.NewTextHandler(printable.Writer(os.Stderr), nil)))
	if err != nil {
		return nil, &exitError{exitFailure, err}
	}
	say("%s: metrics at %s", command, s.Addr())
	return func() { s.Close() }, nil
}

func counter(ch chan<- prometheus.Metric, d *prometheus.Desc, n uint64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, n float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, n, labels...)
}

// number returns 1 for true, 0 for false.
func number(ok bool) float64 {
	if ok {
		return 1
	}
	return 0
}
