package hostile

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

// roleEnv is set in the processes that this test starts: it says what they are.
const roleEnv = "RXRING_HOSTILE"

// roles are those processes' programs. Their arguments are os.Args[1:]. They print one
// line when they are ready, and their result, as JSON, at the end.
var roles = map[string]func(orders *orders) (result any, err error){
	"attacker": attacker,
	"newcomer": newcomer,
	"victim":   victim,
}

func TestMain(m *testing.M) {
	role, ok := roles[os.Getenv(roleEnv)]
	if !ok {
		code := m.Run()
		for _, f := range cleanUp {
			f()
		}
		os.Exit(code)
	}
	result, err := role(newOrders(os.Stdin))
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(result)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// ready tells the test.
func ready() { fmt.Println("ready") }

// orders are the lines that the test writes, such as "phase 2". The last is the end of
// the input, with which the context ends.
type orders struct {
	ctx   context.Context
	lines chan string
}

func newOrders(r io.Reader) *orders {
	ctx, cancel := context.WithCancel(context.Background())
	o := &orders{ctx, make(chan string, 16)}
	go func() {
		defer cancel()
		defer close(o.lines)
		for in := bufio.NewScanner(r); in.Scan(); {
			o.lines <- in.Text()
		}
	}()
	return o
}

// number waits for the order of a name, and returns its number; false at the end.
func (o *orders) number(name string) (n uint64, ok bool) {
	for l := range o.lines {
		if rest, is := strings.CutPrefix(l, name+" "); is {
			_, err := fmt.Sscan(rest, &n)
			return n, err == nil
		}
	}
	return 0, false
}

// attacker runs the attack of the name in its first argument, at the path in its second,
// from the first order until the end.
func attacker(o *orders) (any, error) {
	a, ok := attackByName(os.Args[1])
	if !ok {
		return nil, fmt.Errorf("there is no attack %s", os.Args[1])
	}
	ready()
	if _, ok := o.number("phase"); !ok {
		return "", nil
	}
	return a.run(o.ctx, os.Args[2])
}
