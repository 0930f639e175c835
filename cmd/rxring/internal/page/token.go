package page

import (
	"crypto/rand"
	"crypto/subtle"
	"net/http"
	"sync"
	"time"
)

const (
	// maxSessions limits the cookies that are valid: a further one replaces the one that
	// was used least recently.
	maxSessions = 32
	// sessionTime is how long a cookie is valid after its last use.
	sessionTime = 12 * time.Hour
)

// sessions exchanges tokens for cookies. A token is valid once: then the next one is printed.
type sessions struct {
	cookie string       // its name: cookies of a host are shared by all of its ports
	tell   func(string) // prints a new token

	mu    sync.Mutex
	token string
	used  map[string]time.Time // sessions, with their last use
}

func newSessions(tell func(token string)) *sessions {
	s := &sessions{cookie: "rxring-" + rand.Text()[:8], tell: tell, token: rand.Text(), used: make(map[string]time.Time)}
	tell(s.token)
	return s
}

// exchange returns the cookie for a token, nil if it is wrong or was used before.
func (s *sessions) exchange(token string, secure bool) *http.Cookie {
	s.mu.Lock()
	if subtle.ConstantTimeCompare([]byte(token), []byte(s.token)) == 0 {
		s.mu.Unlock()
		return nil
	}
	s.token = rand.Text()
	id, next := rand.Text()+rand.Text(), s.token
	s.makeRoomLocked()
	s.used[id] = time.Now()
	s.mu.Unlock()
	s.tell(next)
	return &http.Cookie{Name: s.cookie, Value: id, Path: "/", HttpOnly: true, Secure: secure, SameSite: http.SameSiteStrictMode}
}

// makeRoomLocked removes the session that was used least recently if there are too many.
func (s *sessions) makeRoomLocked() {
	if len(s.used) < maxSessions {
		return
	}
	var oldest string
	for id, at := range s.used {
		if oldest == "" || at.Before(s.used[oldest]) {
			oldest = id
		}
	}
	delete(s.used, oldest)
}

// valid reports whether a request has a cookie of exchange.
func (s *sessions) valid(r *http.Request) bool {
	c, err := r.Cookie(s.cookie)
	if err != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.used[c.Value] // the value is random: the time of a map's lookup reveals nothing of it
	if !ok || time.Since(at) > sessionTime {
		delete(s.used, c.Value)
		return false
	}
	s.used[c.Value] = time.Now()
	return true
}
