package stream_test

import (
	"fmt"
	"log"
	"net"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/file/stream"
)

// A program on any system shows its packets to Wireshark: wireshark -k -i TCP@127.0.0.1:57012.
func ExampleServe() {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	wg0, err := ns.AddDevice(rxring.DeviceConfig{Name: "wg0", Type: rxring.RawIP})
	if err != nil {
		log.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // or 127.0.0.1:57012
	if err != nil {
		log.Fatal(err)
	}
	srv, err := stream.Serve(l, ns, stream.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()

	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	in, err := stream.Open(conn, stream.Request{Device: "wg0", SnapLen: 64})
	if err != nil {
		log.Fatal(err)
	}
	defer in.Close()
	r, err := capfile.NewReader(in)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()

	for !wg0.HasListeners() { // until the client is served
		time.Sleep(time.Millisecond)
	}
	wg0.Deliver(&rxring.Packet{Data: []byte{0x45, 0, 0, 20, 19: 0}})
	p, err := r.Next()
	fmt.Println(r.Interfaces()[p.Interface].Name, p.Len, err)
	// Output: wg0 20 <nil>
}
