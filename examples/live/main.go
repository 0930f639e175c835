// Command live captures on a network interface, through the kernel's receive ring. It
// needs CAP_NET_RAW.
//
//	live eth0 10
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/tpacket"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: live INTERFACE COUNT")
	}
	count, err := strconv.Atoi(os.Args[2])
	if err == nil {
		err = live(context.Background(), os.Args[1], count)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func live(ctx context.Context, name string, count int) error {
	h, err := capture.Open(name, capture.Config{})
	if err != nil {
		return err
	}
	defer h.Close()
	fmt.Println("capturing on", name)
	for range count {
		p, err := h.Next(ctx)
		if err != nil {
			return err
		}
		fmt.Printf("%s %d bytes, EtherType %#04x\n", p.Time().Format(time.TimeOnly), p.Len, tpacket.Htons(p.From.Protocol))
	}
	stats, err := h.Stats()
	fmt.Println(stats.Drops, "packets dropped")
	return err
}
