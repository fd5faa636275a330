package emulator

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// throttler counts requests in windows that begin with the first request after the last window.
type throttler struct {
	mu    sync.Mutex
	since time.Time
	count int
}

// over counts a request and reports whether it is one too many.
func (t *throttler) over(now time.Time, k Knobs) bool {
	if k.ThrottleRequests == 0 {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.since) >= k.ThrottleWindow {
		t.since, t.count = now, 0
	}
	t.count++
	return t.count > k.ThrottleRequests
}

// throttled asks to wait for as long as a window, so that the default is the 60 seconds that users report.
func throttled(k Knobs) reply {
	seconds := (k.ThrottleWindow + time.Second - 1) / time.Second
	e := &portalError{Status: k.ThrottleStatus, Code: k.ThrottleStatus, Message: fmt.Sprintf("Too many requests. Please retry after %d seconds.", seconds)}
	if k.ThrottleStatus == http.StatusOK {
		e.Code = http.StatusTooManyRequests
	}
	r := answer("json", nil, e)
	if s := int(k.ThrottleRetryAfter / time.Second); s > 0 {
		r.header = map[string]string{"Retry-After": strconv.Itoa(s)}
	}
	return r
}
