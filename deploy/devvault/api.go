package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// api calls this very server through its front door.
type api struct {
	host, token string
	client      *http.Client
}

// newAPI talks to host:port, through no proxy.
func newAPI(host string) *api {
	return &api{host: host, client: &http.Client{Transport: &http.Transport{}}}
}

// refusal is an answer of the server that is not a success.
type refusal struct {
	status int
	errors []string
}

// Error is what the server said.
func (r *refusal) Error() string {
	return fmt.Sprintf("status %d: %s", r.status, strings.Join(r.errors, "; "))
}

// call sends a request and decodes the data of its answer into data, unless that
// is nil. A status of 300 or more is a *refusal.
func (a *api) call(ctx context.Context, method, path string, body, data any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	target := url.URL{Scheme: "http", Host: a.host, Path: "/v1/" + path}
	request, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("X-Vault-Token", a.token)
	response, err := a.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		Data   json.RawMessage `json:"data"`
		Errors []string        `json:"errors"`
	}
	var read bytes.Buffer
	if _, err := read.ReadFrom(response.Body); err != nil {
		return err
	}
	if read.Len() > 0 {
		err = json.Unmarshal(read.Bytes(), &answer)
	}
	if response.StatusCode >= 300 {
		return &refusal{status: response.StatusCode, errors: answer.Errors}
	}
	if err != nil || data == nil {
		return err
	}
	return json.Unmarshal(answer.Data, data)
}
