package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

type object = map[string]any

// caller calls a server with a token.
type caller struct{ addr, token string }

// as calls the server with a token.
func (c *child) as(token string) caller { return caller{addr: c.line.Addr, token: token} }

// root calls the server with the token that it said.
func (c *child) root() caller { return c.as(c.line.Token) }

// try sends a request and returns the status and the whole answer.
func (c caller) try(t *testing.T, method, path string, body any) (int, object) {
	t.Helper()
	var reader io.Reader
	if body != nil {
		sent, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		reader = bytes.NewReader(sent)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, c.addr+"/v1/"+path, reader)
	if err != nil {
		t.Fatal(err)
	}
	if c.token != "" {
		request.Header.Set("X-Vault-Token", c.token)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport, Timeout: patience}).Do(request)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = response.Body.Close() }()
	read, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	var answer object
	if len(read) > 0 {
		if err := json.Unmarshal(read, &answer); err != nil {
			t.Fatalf("%s %s: %v: %s", method, path, err, read)
		}
	}
	return response.StatusCode, answer
}

// must sends a request that has to succeed, and returns the whole answer.
func (c caller) must(t *testing.T, method, path string, body any) object {
	t.Helper()
	status, answer := c.try(t, method, path, body)
	if status >= 300 {
		t.Fatalf("%s %s: %d %v", method, path, status, answer)
	}
	return answer
}

// refused sends a request that has to fail in this way.
func (c caller) refused(t *testing.T, method, path string, body any, wantStatus int, wantSaid string) {
	t.Helper()
	status, answer := c.try(t, method, path, body)
	said, _ := json.Marshal(answer["errors"])
	if status != wantStatus || !strings.Contains(string(said), wantSaid) {
		t.Errorf("%s %s: got %d %s, want %d %q", method, path, status, said, wantStatus, wantSaid)
	}
}

// in walks into an answer; nil when a step is not there.
func in(answer any, path ...string) any {
	for _, step := range path {
		m, ok := answer.(object)
		if !ok {
			return nil
		}
		answer = m[step]
	}
	return answer
}

// str walks to a string that has to be there.
func str(t *testing.T, answer any, path ...string) string {
	t.Helper()
	s, ok := in(answer, path...).(string)
	if !ok || s == "" {
		t.Fatalf("no string at %v in %v", path, answer)
	}
	return s
}

// write is the body of a KV v2 write; a negative cas stands for none.
func write(value string, cas int) object {
	body := object{"data": object{"value": value}}
	if cas >= 0 {
		body["options"] = object{"cas": cas}
	}
	return body
}

// wantSecret checks the value and the version at secret/data/<name>.
func (c caller) wantSecret(t *testing.T, name, value string, version int) {
	t.Helper()
	answer := c.must(t, http.MethodGet, "secret/data/"+name, nil)
	if got := in(answer, "data", "data", "value"); got != value {
		t.Errorf("%s: value %v, want %q", name, got, value)
	}
	if got := in(answer, "data", "metadata", "version"); got != float64(version) {
		t.Errorf("%s: version %v, want %d", name, got, version)
	}
}

// eventually polls until a condition holds, within patience.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, what)
		case <-tick.C:
		}
	}
}
