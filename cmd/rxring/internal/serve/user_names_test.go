package serve

import (
	"errors"
	"os/user"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestNamesAreRememberedAndWaitedForBriefly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		answer := make(chan struct{})
		c := nameCache{known: make(map[uint32]*name), lookup: func(id string) (*user.User, error) {
			asked.Add(1)
			switch id {
			case "7":
				return &user.User{Username: "alice"}, nil
			case "8":
				return nil, errors.New("no such user")
			}
			<-answer // as a server of names that is down
			return &user.User{Username: "late"}, nil
		}}
		for uid, want := range map[uint32]string{7: "alice (7)", 8: "8"} {
			for range 3 {
				if got := c.of(uid); got != want {
					t.Errorf("%s, want %s", got, want)
				}
			}
		}
		if n := asked.Load(); n != 2 {
			t.Errorf("%d lookups, want 2", n)
		}
		begin := time.Now()
		if got := c.of(9); got != "9" || time.Since(begin) != nameWait {
			t.Errorf("%s after %v", got, time.Since(begin))
		}
		begin = time.Now() // it has been waited for
		if got := c.of(9); got != "9" || time.Since(begin) != 0 {
			t.Errorf("the second time: %s after %v", got, time.Since(begin))
		}
		for uid := range uint32(100) { // no more than maxLookups wait
			c.find(1000+uid, "1000")
		}
		synctest.Wait()
		if n := asked.Load(); n != 2+maxLookups {
			t.Errorf("%d lookups, want %d", n, 2+maxLookups)
		}
		begin = time.Now()
		if got := c.of(2000); got != "2000" || time.Since(begin) != 0 {
			t.Errorf("%s after %v", got, time.Since(begin))
		}
		close(answer)
		synctest.Wait()
		if got := c.of(9); got != "late (9)" {
			t.Errorf("%s, want late (9)", got)
		}
		time.Sleep(nameAge)
		c.of(7)
		if n := asked.Load(); n != 3+maxLookups {
			t.Errorf("%d lookups, want %d", n, 3+maxLookups)
		}
	})
}
