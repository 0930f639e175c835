package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/rxring/rxring/cmd/rxring/internal/progress"
	"github.com/rxring/rxring/source/file/stream"
)

// dialTimeout bounds an attempt to connect.
const dialTimeout = 10 * time.Second

type (
	stdinOpener struct{}
	fifoOpener  string // its path
	netOpener   struct {
		network, address string         // tcp or unix
		request          stream.Request // zero: none is sent, as for PCAP-over-IP
	}
)

// parseOpener parses the argument of pcap:.
func parseOpener(arg string) (streamOpener, error) {
	network, address, _ := strings.Cut(arg, ":")
	switch {
	case arg == "":
		return nil, errors.New("no stream: " + wantPipe)
	case arg == "-":
		return stdinOpener{}, nil
	case network == "tcp":
		host, port, err := net.SplitHostPort(address)
		if err != nil || host == "" || port == "" {
			return nil, fmt.Errorf("tcp:%s: want a host and a port, such as tcp:127.0.0.1:57012 or tcp:[::1]:57012", address)
		}
		return netOpener{network: network, address: address}, nil
	case network == "unix":
		if address == "" {
			return nil, errors.New("unix: has no path: want the path of a unix socket, such as unix:/run/capture.sock")
		}
		return netOpener{network: network, address: address}, nil
	}
	return fifoOpener(arg), nil
}

const wantWriter = "want a program that writes pcap or pcapng before this one, such as tcpdump -U -w - | rxring …"

// open of standard input copies it, so that closing it ends a Read, which closing a terminal or
// a pipe that blocks does not.
func (stdinOpener) open(context.Context) (io.ReadCloser, error) {
	if progress.IsTerminal(os.Stdin) {
		return nil, errors.New("standard input is a terminal: " + wantWriter)
	}
	if info, err := os.Stdin.Stat(); err == nil && info.IsDir() {
		return nil, errors.New("standard input is a directory: " + wantWriter)
	}
	r, w := io.Pipe()
	go func() {
		_, err := io.Copy(w, os.Stdin)
		w.CloseWithError(err)
	}()
	return r, nil
}

func (path fifoOpener) open(ctx context.Context) (io.ReadCloser, error) {
	info, err := os.Stat(string(path))
	var p *fs.PathError
	switch {
	case errors.As(err, &p):
		return nil, fmt.Errorf("%w: %s", p.Err, wantPipe)
	case info.Mode().IsRegular():
		return nil, fmt.Errorf("it is a regular file: want file:%s, which replays it", strings.ReplaceAll(string(path), ",", ",,"))
	case info.Mode()&fs.ModeSocket != 0:
		return nil, fmt.Errorf("it is a socket: want pcap:unix:%s", strings.ReplaceAll(string(path), ",", ",,"))
	case info.IsDir():
		return nil, fmt.Errorf("it is a directory: %s", wantPipe)
	case info.Mode()&fs.ModeNamedPipe == 0:
		return nil, fmt.Errorf("it is no FIFO (%v): %s", info.Mode().Type(), wantPipe)
	}
	in, err := openFIFO(string(path))
	if errors.As(err, &p) {
		err = p.Err
	}
	return in, err
}

func (n netOpener) open(ctx context.Context) (io.ReadCloser, error) {
	if n.network == "unix" {
		if info, err := os.Stat(n.address); err == nil && info.Mode()&fs.ModeSocket == 0 {
			return nil, fmt.Errorf("it is no socket (%v): want the path of a unix socket that a program listens at", info.Mode())
		}
	}
	d := net.Dialer{Timeout: dialTimeout}
	conn, err := d.DialContext(ctx, n.network, n.address)
	var op *net.OpError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED) && n.network == "tcp":
		return nil, fmt.Errorf("%w: start the program that listens there first, such as rxring dump -w tcp:ADDRESS", syscall.ECONNREFUSED)
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%w: no program listens there: start it first", syscall.ECONNREFUSED)
	case errors.Is(err, syscall.ENOENT):
		return nil, fmt.Errorf("%w: start the program that listens there first", syscall.ENOENT)
	case errors.Is(err, syscall.EPROTOTYPE):
		return nil, fmt.Errorf("%w: want a stream socket; what rxring serve and package attach offer is read by --at %s in place of --from", syscall.EPROTOTYPE, n.address)
	case errors.As(err, &op) && op.Op == "dial":
		return nil, op.Err
	case err != nil:
		return nil, err
	case n.request == stream.Request{}:
		return conn, nil
	}
	in, err := stream.Open(conn, n.request)
	if err != nil {
		conn.Close()
	}
	return in, err
}
