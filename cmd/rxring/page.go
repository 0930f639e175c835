package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rxring/rxring/cmd/rxring/internal/page"
)

// pageFlag are --http and the flags of its certificate.
type pageFlag struct {
	text, cert, key string
	address         page.Address // the zero value: there is no page
}

func (f *pageFlag) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.text, "http", "", "serve a page that shows devices, readers, losses and packets in a browser, at this `ADDRESS`: 127.0.0.1:8080 or unix:/PATH (default: no page)")
	flags.StringVar(&f.cert, "http-cert", "", "PEM `FILE` of the page's certificate, which addresses other than loopback ones require")
	flags.StringVar(&f.key, "http-key", "", "PEM `FILE` of the certificate's key")
}

func (f *pageFlag) parse(cmd *cobra.Command) (err error) {
	if !cmd.Flags().Changed("http") {
		if f.cert != "" || f.key != "" {
			return &exitError{exitUsage, errors.New("--http-cert and --http-key are of a page: want --http ADDRESS, too")}
		}
		return nil
	}
	if f.address, err = page.ParseAddress(f.text, f.cert != ""); err != nil {
		return &exitError{exitUsage, fmt.Errorf("--http %w", err)}
	}
	if _, err = page.LoadCertificate(f.cert, f.key); err != nil {
		return &exitError{exitUsage, err}
	}
	return nil
}
