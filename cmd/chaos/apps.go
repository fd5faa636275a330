package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// use is one call of an application to the portal's resource.
type use struct {
	Name        credential.Name
	Fingerprint credential.Fingerprint
	Version     int
	// Read is when the read began that gave the key; Answered is when the portal
	// had answered.
	Read, Answered time.Time
	Status         int
}

// String is for people.
func (u use) String() string {
	return fmt.Sprintf("%s %s: key %s of version %d, read %s before, was refused with %d", u.Answered.Local().Format(clockLayout),
		u.Name, u.Fingerprint, u.Version, u.Answered.Sub(u.Read).Round(time.Millisecond), u.Status)
}

// usage is what applications met.
type usage struct {
	Accepted, NoAnswer, VaultAway, Kept int
	// Refused are all refusals, also those that keyturn may cause.
	Refused []use
	// Keyless are reads in which Vault answered without a key.
	Keyless []string
}

// apps are the stand-in applications, one for each credential.
type apps struct {
	client          *http.Client
	vault, resource string
	every           time.Duration
	say             func(string, ...any)
	cancel          context.CancelFunc
	group           sync.WaitGroup

	mu    sync.Mutex
	usage usage
}

func newApps(w *world) *apps {
	ctx, cancel := context.WithCancel(context.Background())
	a := &apps{
		client: &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64, MaxConnsPerHost: 256}},
		vault:  "http://" + w.vault.addr() + "/v1/secret/data/keyturn/", resource: "http://" + w.portal.addr + "/emulator/resource?token=",
		every: w.every, say: w.say, cancel: cancel,
	}
	for i, name := range w.names {
		// spread, so that they do not all come at once
		first := a.every * time.Duration(i) / time.Duration(len(w.names))
		a.group.Go(func() { a.run(ctx, name, first) })
	}
	return a
}

func (a *apps) stop() {
	a.cancel()
	a.group.Wait()
	a.client.CloseIdleConnections()
}

// seen is what was met so far.
func (a *apps) seen() usage {
	a.mu.Lock()
	defer a.mu.Unlock()
	u := a.usage
	u.Refused = append([]use(nil), u.Refused...)
	return u
}

// held is a key that an application has.
type held struct {
	key     string
	version int
	read    time.Time
}

func (a *apps) run(ctx context.Context, name credential.Name, first time.Duration) {
	timer := time.NewTimer(first)
	defer timer.Stop()
	var own held
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		timer.Reset(a.every)
		own = a.turn(ctx, name, own)
	}
}

// turn reads the key and uses it.
func (a *apps) turn(ctx context.Context, name credential.Name, own held) held {
	began := time.Now()
	key, version, err := a.read(ctx, name)
	switch {
	case ctx.Err() != nil:
		return own
	case err != nil:
		a.note(func(u *usage) { u.VaultAway++ })
		if own.key == "" {
			return own
		}
		a.note(func(u *usage) { u.Kept++ })
	case key == "":
		a.note(func(u *usage) {
			u.Keyless = append(u.Keyless, fmt.Sprintf("%s %s: version %d holds no key", began.Format(clockLayout), name, version))
		})
		return own
	default:
		own = held{key, version, began}
	}
	status, err := a.call(ctx, own.key)
	if ctx.Err() != nil {
		return own
	}
	one := use{
		Name: name, Fingerprint: credential.NewSecret(own.key).Fingerprint(), Version: own.version,
		Read: own.read, Answered: time.Now(), Status: status,
	}
	if err == nil && status != 0 {
		a.say("refused: %s", one)
	}
	a.note(func(u *usage) {
		switch {
		case err != nil:
			u.NoAnswer++
		case status == 0:
			u.Accepted++
		default:
			u.Refused = append(u.Refused, one)
		}
	})
	return own
}

func (a *apps) note(change func(*usage)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.usage)
}

// read asks Vault for the key. An error says that Vault did not answer; an
// answer without a key is an empty one.
func (a *apps) read(ctx context.Context, name credential.Name) (key string, version int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.vault+string(name), nil)
	if err != nil {
		return "", 0, err
	}
	request.Header.Set("X-Vault-Token", appToken)
	var answer struct {
		Data struct {
			Data     map[string]string `json:"data"`
			Metadata struct {
				Version int `json:"version"`
			} `json:"metadata"`
		} `json:"data"`
	}
	status, err := a.get(request, &answer)
	switch {
	case err != nil:
		return "", 0, err
	case status == http.StatusOK, status == http.StatusNotFound:
		return answer.Data.Data["api_key"], answer.Data.Metadata.Version, nil
	}
	return "", 0, fmt.Errorf("status %d", status)
}

// call uses the key. Zero is "accepted", another status a definite refusal; an
// error is everything that says neither.
func (a *apps) call(ctx context.Context, key string) (refusal int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.resource+url.QueryEscape(key), nil)
	if err != nil {
		return 0, err
	}
	var answer struct {
		OK    bool `json:"ok"`
		Error *struct {
			Code int `json:"code"`
		} `json:"error"`
	}
	status, err := a.get(request, &answer)
	switch {
	case err != nil:
		return 0, err
	case status == http.StatusOK && answer.OK:
		return 0, nil
	case answer.Error != nil && (status == http.StatusUnauthorized || status == http.StatusForbidden):
		return answer.Error.Code, nil
	}
	return 0, fmt.Errorf("status %d", status)
}

func (a *apps) get(request *http.Request, out any) (int, error) {
	response, err := a.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, json.Unmarshal(text, out)
}
