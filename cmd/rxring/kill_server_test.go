package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
)

// killServer is the server of TestKills, a program of its own: it offers a device
// that is never quiet at the path that it is told, and does what lines on its input
// say. It ends with its input.
func killServer() {
	if err := runKillServer(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// killStatus is what a killServer has, as JSON, in answer to "status".
type killStatus struct {
	Goroutines int
	Held       int64 // bytes of ring memory
	Sockets    int
	Capturing  int // sockets that have captured something
	Seq        uint32
}

func runKillServer(path string) error {
	budget := rxring.NewBudget(1 << 30)
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev, err := ns.AddDevice(rxring.DeviceConfig{Name: "wg0"})
	if err != nil {
		return err
	}
	srv, err := attach.Listen(path, attach.Config{
		Namespace: ns,
		Grant: func(attach.Peer) (attach.Grant, error) {
			return attach.Grant{Socket: rxring.Grant{Budget: budget}, AllStatus: true}, nil
		},
	})
	if err != nil {
		return err
	}
	defer srv.Close()
	var (
		turn sync.Mutex // held to deliver; by who has paused, too
		seq  uint32
	)
	deliver := func() {
		seq++
		dev.Deliver(&rxring.Packet{Data: killFrame(seq)})
	}
	go func() {
		for {
			turn.Lock()
			for range 8 {
				deliver()
			}
			turn.Unlock()
			time.Sleep(4 * time.Millisecond)
		}
	}()
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "pause":
			turn.Lock()
			fmt.Println(seq)
		case "one": // paused
			deliver()
			fmt.Println(seq)
		case "resume":
			turn.Unlock()
			fmt.Println("resumed")
		case "status":
			st := killStatus{Goroutines: runtime.NumGoroutine(), Held: budget.Held()}
			for _, s := range srv.Status().Sockets {
				st.Sockets++
				if s.Captured > 0 {
					st.Capturing++
				}
			}
			b, err := json.Marshal(st)
			if err != nil {
				return err
			}
			fmt.Printf("%s\n", b)
		}
	}
	return nil
}

// killFrame is a broadcast frame that says which one it is.
func killFrame(seq uint32) []byte {
	b := bytes.Repeat([]byte{byte(seq)}, 60+int(seq%1000))
	copy(b, "\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x88\xb5")
	binary.BigEndian.PutUint32(b[14:], seq)
	return b
}
