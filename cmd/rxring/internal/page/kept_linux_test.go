package page_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/internal/need"
)

// What a table has kept can be downloaded: the last 10,000 packets, or those before a pause.
func TestKept(t *testing.T) {
	need.Time(t, "it waits for samples")
	needLibpcap(t)
	s := newScene(t, attach.Grant{})
	e := s.stream("/packets/events?device=wg0&filter=port+53")
	var id string
	e.await("table", &id)
	kept := func() (n int, first, last string) {
		all := readAll(t, strings.NewReader(s.get("/packets/"+id+"/kept")))
		if len(all) == 0 {
			return 0, "", ""
		}
		const headers = 42
		text := func(data []byte) string { return strings.TrimRight(string(data[headers:]), "\x00") } // frames are padded
		return len(all), text(all[0].Data), text(all[len(all)-1].Data)
	}
	if n, _, _ := kept(); n != 0 {
		t.Errorf("%d packets of an empty table", n)
	}
	deliver(s.device("wg0"), udp(t, 53, "one"), udp(t, 54, "no"), udp(t, 53, "two"))
	e.rows(2)
	if n, first, last := kept(); n != 2 || first != "one" || last != "two" {
		t.Errorf("%d packets, from %q to %q", n, first, last)
	}
	for i := range 10_500 { // fewer at a time than a table shows of a burst
		deliver(s.device("wg0"), udp(t, 53, fmt.Sprint("p", i)))
		if i%500 == 499 {
			e.rows(500)
		}
	}
	if n, first, last := kept(); n != 10_000 || first != "p500" || last != "p10499" {
		t.Errorf("%d packets, from %q to %q", n, first, last)
	}
	resp, err := s.client.Get(s.base + "/packets/x/kept")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusNotFound || !bytes.Contains(body, []byte("this table is closed")) {
		t.Errorf("%s: %s", resp.Status, body)
	}
}
