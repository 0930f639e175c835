package main

import (
	"io"
	"net"
)

// serve reads what is sent on each connection, to its end.
func serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			io.Copy(io.Discard, conn)
			conn.Close()
		}()
	}
}

// halfCloser is implemented by TCP connections.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// transfer sends n bytes, and returns once the peer has closed the connection, too.
func transfer(conn halfCloser, n int) error {
	defer conn.Close()
	if _, err := conn.Write(make([]byte, n)); err != nil {
		return err
	}
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, conn)
	return err
}
