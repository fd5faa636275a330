package emulator

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Kinds of Rule.
const (
	FaultDelay    = "delay"    // only Rule.Delay, then the right answer
	FaultError    = "error"    // Status, Code, MessageCode, Message, Details of the rule
	FaultThrottle = "throttle" // the answer that the throttling knobs describe
	FaultSilence  = "silence"  // no answer until the client gives up or the portal is closed
	FaultDrop     = "drop"     // the connection is cut
	FaultHTML     = "html"     // a web page, with status 200 or Status
	FaultGarbage  = "garbage"  // bytes that are no JSON
	FaultHalf     = "half"     // acts; then the first half of the right answer, then the connection is cut
	FaultEmpty    = "empty"    // status 200 or Status, no body
)

var faultKinds = []string{FaultDelay, FaultError, FaultThrottle, FaultSilence, FaultDrop, FaultHTML, FaultGarbage, FaultHalf, FaultEmpty}

// Faults are disturbances. They may be changed at any time.
type Faults struct {
	// Latency is one round trip, added to every request to the portal and to the resource: half of it
	// before the portal acts and half after.
	Latency time.Duration `json:"latency"`
	// Jitter adds a random part of itself to Latency.
	Jitter time.Duration `json:"jitter"`
	// Rules are looked at in order; the first that applies to a request is carried out.
	Rules []Rule `json:"rules"`
}

// Rule is one fault. The zero Path, Param, After, Every, Count and Rate mean: each request, for ever.
type Rule struct {
	// Kind is one of the Fault constants.
	Kind string `json:"kind"`
	// Path is a part of the request's path; * in it stands for any run of characters. Empty = every path.
	Path string `json:"path,omitempty"`
	// Param is "name" (present) or "name=value" of a form or query parameter, for example "apiToken".
	Param string `json:"param,omitempty"`
	// Act: the portal first does what was asked for, and then spoils the answer. With FaultDrop this is
	// the lost reply.
	Act bool `json:"act,omitempty"`
	// After lets so many matching requests pass first.
	After int `json:"after,omitempty"`
	// Every applies the rule to each Nth matching request only. 0 and 1 = each.
	Every int `json:"every,omitempty"`
	// Count ends the rule after it was carried out so often. 0 = never.
	Count int `json:"count,omitempty"`
	// Rate is the probability, from 0 to 1, that it is carried out. 0 = always.
	Rate float64 `json:"rate,omitempty"`
	// Delay passes before the portal acts, on top of Faults.Latency.
	Delay time.Duration `json:"delay,omitempty"`

	// Status is the HTTP status. 0 = 200.
	Status int `json:"status,omitempty"`
	// Code is error.code of FaultError. 0 = 500.
	Code int `json:"code,omitempty"`
	// MessageCode, Message and Details complete it. Empty Message = "Emulated fault".
	MessageCode string   `json:"messageCode,omitempty"`
	Message     string   `json:"message,omitempty"`
	Details     []string `json:"details,omitempty"`
	// RetryAfter goes into the Retry-After header of FaultError, in whole seconds. 0 = no header.
	RetryAfter time.Duration `json:"retryAfter,omitempty"`

	// Matched and Fired count; they are set by the portal and ignored when given.
	Matched int `json:"matched,omitempty"`
	Fired   int `json:"fired,omitempty"`
}

func (r Rule) validate() error {
	if !slices.Contains(faultKinds, r.Kind) {
		return fmt.Errorf("emulator: unknown fault %q (want one of %q)", r.Kind, faultKinds)
	}
	if r.After < 0 || r.Every < 0 || r.Count < 0 || r.Rate < 0 || r.Rate > 1 || r.Delay < 0 || r.RetryAfter < 0 {
		return fmt.Errorf("emulator: fault %s: a number is out of range", r.Kind)
	}
	if r.Status != 0 && (r.Status < 200 || r.Status > 599) {
		return fmt.Errorf("emulator: fault %s: no HTTP status: %d", r.Kind, r.Status)
	}
	return nil
}

// matches says whether the request is one of the rule's.
func (r *Rule) matches(path string, form url.Values) bool {
	if r.Path != "" && !wildcard("*"+r.Path+"*", path) {
		return false
	}
	name, value, exact := strings.Cut(r.Param, "=")
	return r.Param == "" || (form.Has(name) && (!exact || form.Get(name) == value))
}

// due counts a matching request and says whether the rule is carried out.
func (r *Rule) due() bool {
	r.Matched++
	n := r.Matched - r.After
	if n <= 0 || (r.Count > 0 && r.Fired >= r.Count) || (r.Every > 1 && n%r.Every != 0) {
		return false
	}
	if r.Rate > 0 && rand.Float64() >= r.Rate {
		return false
	}
	r.Fired++
	return true
}

// faultBox holds the faults in force and their counters.
type faultBox struct {
	mu     sync.Mutex
	faults Faults
}

// faultPlan is what happens to one request.
type faultPlan struct {
	before, after time.Duration
	rule          Rule // Kind "" = none
	act           bool
}

func (f faultPlan) spoils() bool { return f.rule.Kind != "" && f.rule.Kind != FaultDelay }

func (b *faultBox) plan(path string, form url.Values) (plan faultPlan) {
	b.mu.Lock()
	defer b.mu.Unlock()
	trip := b.faults.Latency
	if b.faults.Jitter > 0 {
		trip += rand.N(b.faults.Jitter)
	}
	plan.before, plan.after = trip/2, trip-trip/2
	for i := range b.faults.Rules {
		if r := &b.faults.Rules[i]; r.matches(path, form) && r.due() {
			plan.rule, plan.act = *r, r.Act || r.Kind == FaultHalf
			plan.before += r.Delay
			break
		}
	}
	return plan
}

// SetFaults replaces all faults; counters begin anew.
func (p *Portal) SetFaults(f Faults) error {
	if f.Latency < 0 || f.Jitter < 0 {
		return fmt.Errorf("emulator: negative latency")
	}
	f.Rules = slices.Clone(f.Rules)
	for i := range f.Rules {
		if err := f.Rules[i].validate(); err != nil {
			return err
		}
		f.Rules[i].Matched, f.Rules[i].Fired = 0, 0
	}
	p.faults.mu.Lock()
	defer p.faults.mu.Unlock()
	p.faults.faults = f
	return nil
}

// Faults returns the faults in force, with their counters.
func (p *Portal) Faults() Faults {
	p.faults.mu.Lock()
	defer p.faults.mu.Unlock()
	f := p.faults.faults
	f.Rules = slices.Clone(f.Rules)
	return f
}

// spoil carries out a fault; rep is the right answer if the portal has acted.
func (p *Portal) spoil(w http.ResponseWriter, r *http.Request, plan faultPlan, rep reply) {
	rule := plan.rule
	status := rule.Status
	setDefault(&status, http.StatusOK)
	switch rule.Kind {
	case FaultSilence:
		select {
		case <-r.Context().Done():
		case <-p.closing:
		}
		panic(http.ErrAbortHandler)
	case FaultDrop:
		panic(http.ErrAbortHandler)
	case FaultHalf:
		w.Header().Set("Content-Type", rep.kind)
		w.Header().Set("Content-Length", strconv.Itoa(len(rep.body)))
		w.WriteHeader(rep.status)
		_, _ = w.Write(rep.body[:len(rep.body)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case FaultHTML:
		page(status, "<p>An emulated fault: a page where JSON was asked for.</p>").write(w)
	case FaultGarbage:
		reply{status: status, kind: kindJSON, body: []byte("{\"access_token\":\x00\xff\xfe]]")}.write(w)
	case FaultEmpty:
		reply{status: status, kind: kindJSON}.write(w)
	case FaultThrottle:
		throttled(p.Knobs()).write(w)
	case FaultError:
		e := &portalError{Status: rule.Status, Code: rule.Code, MessageCode: rule.MessageCode, Message: rule.Message, Details: rule.Details}
		setDefault(&e.Code, 500)
		setDefault(&e.Message, "Emulated fault")
		out := answer("json", nil, e)
		if s := int(rule.RetryAfter / time.Second); s > 0 {
			out.header = map[string]string{"Retry-After": strconv.Itoa(s)}
		}
		out.write(w)
	}
}

// plainFaults and plainRule are the types without their JSON methods.
type (
	plainFaults Faults
	plainRule   Rule
)

type faultsJSON struct {
	plainFaults
	Latency durationJSON `json:"latency"`
	Jitter  durationJSON `json:"jitter"`
}

type ruleJSON struct {
	plainRule
	Delay      durationJSON `json:"delay,omitempty"`
	RetryAfter durationJSON `json:"retryAfter,omitempty"`
}

// MarshalJSON writes durations as strings such as "30ms".
func (f Faults) MarshalJSON() ([]byte, error) {
	return json.Marshal(faultsJSON{plainFaults(f), durationJSON(f.Latency), durationJSON(f.Jitter)})
}

// UnmarshalJSON reads what MarshalJSON writes and refuses unknown names.
func (f *Faults) UnmarshalJSON(data []byte) error {
	var j faultsJSON
	if err := decodeStrict(data, &j); err != nil {
		return err
	}
	*f = Faults(j.plainFaults)
	f.Latency, f.Jitter = time.Duration(j.Latency), time.Duration(j.Jitter)
	return nil
}

// MarshalJSON writes durations as strings such as "30s".
func (r Rule) MarshalJSON() ([]byte, error) {
	return json.Marshal(ruleJSON{plainRule(r), durationJSON(r.Delay), durationJSON(r.RetryAfter)})
}

// UnmarshalJSON reads what MarshalJSON writes and refuses unknown names.
func (r *Rule) UnmarshalJSON(data []byte) error {
	var j ruleJSON
	if err := decodeStrict(data, &j); err != nil {
		return err
	}
	*r = Rule(j.plainRule)
	r.Delay, r.RetryAfter = time.Duration(j.Delay), time.Duration(j.RetryAfter)
	return nil
}
