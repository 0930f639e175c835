// Command attached reads packets of a device that another process offers, such as lend or
// `rxring serve`, in place: in memory that both processes have mapped.
//
//	attached wg0.sock wg0 10
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/capture"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 4 {
		log.Fatal("usage: attached SOCKET DEVICE COUNT")
	}
	count, err := strconv.Atoi(os.Args[3])
	if err == nil {
		err = read(context.Background(), os.Args[1], os.Args[2], count)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func read(ctx context.Context, path, device string, count int) error {
	client, err := attach.Dial(ctx, path)
	if err != nil {
		return err
	}
	defer client.Close()
	h, err := capture.OpenAttached(client, device, capture.Config{})
	if err != nil {
		return err
	}
	defer h.Close()
	for range count {
		p, err := h.Next(ctx)
		if err != nil {
			return err
		}
		fmt.Printf("%s %d bytes: %q\n", p.Time().Format(time.TimeOnly), p.Len, p.Data)
	}
	stats, err := h.Stats()
	fmt.Println(stats.Drops, "packets dropped")
	return err
}
