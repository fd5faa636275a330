package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/publisher"
)

// bare makes the calls of a rotation with plain clients and nothing else: no
// decision, no encoding of events, no signature, no parsing beyond what the
// next call needs.
type bare struct {
	w       *world
	client  *http.Client
	stream  jetstream.Stream
	token   string // the manager's
	items   []bareItem
	payload []byte // of an event, as large as a real one
	headers nats.Header
	next    int
	mu      sync.Mutex
}

// bareItem is an item of its own for the bare calls.
type bareItem struct{ id, clientID, secret, path, subject string }

func newBare(ctx context.Context, w *world) (*bare, error) {
	b := &bare{w: w, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4 * inFlight}}}
	// a real event gives size and headers
	stream, err := w.js.Stream(ctx, publisher.StreamName)
	if err != nil {
		return nil, err
	}
	b.stream = stream
	message, err := stream.GetLastMsgForSubject(ctx, publisher.RecordSubject("bench/key-0"))
	if err != nil {
		return nil, err
	}
	b.payload, b.headers = message.Data, message.Header
	var login struct{ Token string }
	if err := b.portal(ctx, "/generateToken", url.Values{
		"username": {username}, "password": {password}, "client": {"referer"}, "referer": {"keyturn"}, "expiration": {"120"},
	}, &login); err != nil {
		return nil, err
	}
	b.token = login.Token
	for i := range inFlight {
		var item struct{ ID string }
		var app struct {
			ClientID     string `json:"client_id"`
			ClientSecret string `json:"client_secret"`
		}
		if err := b.managed(ctx, "/content/users/"+username+"/addItem", url.Values{"title": {fmt.Sprintf("bare %d", i)}, "type": {"Application"}, "tags": {"bench"}}, &item); err != nil {
			return nil, err
		}
		if err := b.managed(ctx, "/oauth2/registerApp", url.Values{
			"itemId": {item.ID}, "appType": {"multiple"}, "redirect_uris": {`["urn:ietf:wg:oauth:2.0:oob"]`},
			"httpReferrers": {"[]"}, "privileges": {`["premium:user:basemaps"]`},
		}, &app); err != nil {
			return nil, err
		}
		b.items = append(b.items, bareItem{
			id: item.ID, clientID: app.ClientID, secret: app.ClientSecret,
			path: fmt.Sprintf("bare/key-%d", i), subject: fmt.Sprintf("keyturn.record.bare.key-%d", i),
		})
	}
	return b, nil
}

func (b *bare) close() { b.client.CloseIdleConnections() }

// sequence makes the calls of n rotations, inFlight at a time.
func (b *bare) sequence(ctx context.Context, n int) error {
	return b.shared(n, func(item bareItem, turn int) error { return b.rotation(ctx, item, turn) })
}

// vaultOnly makes three CAS writes and one destroy for each of n rotations.
func (b *bare) vaultOnly(ctx context.Context, n int) error {
	return b.shared(n, func(item bareItem, _ int) error {
		version, err := b.version(ctx, item)
		if err != nil {
			return err
		}
		for range 3 {
			if version, err = b.write(ctx, item, version, "AAPT"); err != nil {
				return err
			}
		}
		return b.destroy(ctx, item, version)
	})
}

// shared spreads n turns over the items; an item is used by one worker.
func (b *bare) shared(n int, f func(bareItem, int) error) error {
	var workers sync.WaitGroup
	errs := make([]error, len(b.items))
	turns := make(chan int, n)
	b.mu.Lock()
	for range n {
		b.next++
		turns <- b.next
	}
	b.mu.Unlock()
	close(turns)
	for i, item := range b.items {
		workers.Go(func() {
			for turn := range turns {
				if errs[i] = f(item, turn); errs[i] != nil {
					return
				}
			}
		})
	}
	workers.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// rotation is the calls of one rotation, in the order in which keyturn makes them.
func (b *bare) rotation(ctx context.Context, item bareItem, turn int) error {
	slot := fmt.Sprint(turn%2 + 1)
	head, err := b.load(ctx, item)
	if err != nil {
		return err
	}
	if head, err = b.append(ctx, item, head); err != nil { // started
		return err
	}
	described := make(chan error, 1)
	go func() { described <- b.managed(ctx, "/content/items/"+item.id, nil, nil) }()
	if err := b.managed(ctx, "/content/users/"+username+"/items/"+item.id+"/registeredAppInfo", nil, nil); err != nil {
		return err
	}
	if err := <-described; err != nil {
		return err
	}
	expires := fmt.Sprint(time.Now().Add(24 * time.Hour).UnixMilli())
	if err := b.managed(ctx, "/content/users/"+username+"/items/"+item.id+"/update", url.Values{"apiToken" + slot + "ExpirationDate": {expires}}, nil); err != nil {
		return err
	}
	var key struct {
		AccessToken string `json:"access_token"`
	}
	if err := b.portal(ctx, "/oauth2/token", url.Values{
		"client_id": {item.clientID}, "client_secret": {item.secret}, "grant_type": {"client_credentials"},
		"apiToken": {slot}, "regenerateApiToken": {"true"},
	}, &key); err != nil {
		return err
	}
	version, err := b.version(ctx, item) // the read before the store
	if err != nil {
		return err
	}
	if version, err = b.write(ctx, item, version, key.AccessToken); err != nil {
		return err
	}
	probe := url.Values{"token": {key.AccessToken}}
	if err := b.portal(ctx, "/portals/self", probe, nil); err != nil {
		return err
	}
	if head, err = b.append(ctx, item, head); err != nil { // issued
		return err
	}
	if version, err = b.write(ctx, item, version, key.AccessToken); err != nil {
		return err
	}
	if head, err = b.append(ctx, item, head); err != nil { // promoted
		return err
	}
	if _, err := b.load(ctx, item); err != nil { // the signature is checked against what is stored
		return err
	}
	if _, err = b.version(ctx, item); err != nil { // the read before the retirement
		return err
	}
	if err := b.portal(ctx, "/portals/self", probe, nil); err != nil {
		return err
	}
	if head, err = b.append(ctx, item, head); err != nil { // retiring
		return err
	}
	if version, err = b.write(ctx, item, version, key.AccessToken); err != nil { // the fence
		return err
	}
	if err := b.portal(ctx, "/oauth2/revokeToken", url.Values{
		"client_id": {item.clientID}, "client_secret": {item.secret}, "apiToken": {fmt.Sprint(3 - turn%2 - 1)},
	}, nil); err != nil {
		return err
	}
	if err := b.managed(ctx, "/content/users/"+username+"/items/"+item.id+"/registeredAppInfo", nil, nil); err != nil {
		return err
	}
	if err := b.destroy(ctx, item, version); err != nil {
		return err
	}
	_, err = b.append(ctx, item, head) // invalidated
	return err
}

func (b *bare) managed(ctx context.Context, path string, form url.Values, out any) error {
	with := url.Values{"token": {b.token}}
	for name, values := range form {
		with[name] = values
	}
	return b.portal(ctx, path, with, out)
}

func (b *bare) portal(ctx context.Context, path string, form url.Values, out any) error {
	with := url.Values{"f": {"json"}}
	for name, values := range form {
		with[name] = values
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.w.portalURL+path, strings.NewReader(with.Encode()))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Referer", "keyturn")
	return b.roundTrip(request, out)
}

func (b *bare) roundTrip(request *http.Request, out any) error {
	answer, err := b.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode >= 400 || bytes.Contains(text, []byte(`"error":{`)) {
		return fmt.Errorf("bare %s: status %d", request.URL.Path, answer.StatusCode)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

func (b *bare) vault(ctx context.Context, method, path string, body, out any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, b.w.vaultAddr+"/v1/secret/"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("X-Vault-Token", b.w.token.Reveal())
	return b.roundTrip(request, out)
}

// version reads the secret.
func (b *bare) version(ctx context.Context, item bareItem) (int, error) {
	var answer struct {
		Data struct {
			Metadata struct{ Version int }
		}
	}
	if err := b.vault(ctx, http.MethodGet, "data/"+item.path, nil, &answer); err != nil {
		return 0, nil //nolint:nilerr // the first time there is nothing
	}
	return answer.Data.Metadata.Version, nil
}

func (b *bare) write(ctx context.Context, item bareItem, cas int, key string) (int, error) {
	var answer struct{ Data struct{ Version int } }
	err := b.vault(ctx, http.MethodPost, "data/"+item.path, map[string]any{
		"options": map[string]int{"cas": cas},
		"data": map[string]string{
			"api_key": key, "fingerprint": "0123456789abcdef", "expires_at": "2026-01-01T00:00:00Z", "seat": item.id + "/1", "mint": "1",
			"secondary_api_key": key, "secondary_fingerprint": "0123456789abcdef", "secondary_expires_at": "2026-01-01T00:00:00Z",
			"secondary_seat": item.id + "/2", "secondary_mint": "2", "rotation_id": item.id, "revision": "10",
		},
	}, &answer)
	return answer.Data.Version, err
}

func (b *bare) destroy(ctx context.Context, item bareItem, below int) error {
	versions := []int{}
	for v := max(1, below-4); v < below; v++ {
		versions = append(versions, v)
	}
	return b.vault(ctx, http.MethodPost, "destroy/"+item.path, map[string]any{"versions": versions}, nil)
}

// load reads the last message of a subject.
func (b *bare) load(ctx context.Context, item bareItem) (uint64, error) {
	message, err := b.stream.GetLastMsgForSubject(ctx, item.subject)
	if err != nil {
		return 0, nil //nolint:nilerr // the first time there is nothing
	}
	return message.Sequence, nil
}

func (b *bare) append(ctx context.Context, item bareItem, head uint64) (uint64, error) {
	message := &nats.Msg{Subject: item.subject, Data: b.payload, Header: nats.Header{}}
	for name, values := range b.headers {
		if strings.HasPrefix(strings.ToLower(name), "ce-") {
			message.Header[name] = values
		}
	}
	ack, err := b.w.js.PublishMsg(ctx, message, jetstream.WithExpectLastSequencePerSubject(head), jetstream.WithMsgID(nats.NewInbox()))
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}
