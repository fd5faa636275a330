package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
)

// api calls this very server through its front door.
type api struct{ addr, token string }

// call sends a request and returns its status; the body is not of interest.
func (a api) call(ctx context.Context, method, path string, body any) (status int, err error) {
	text, err := json.Marshal(body)
	if err != nil {
		return 0, err
	}
	request, err := http.NewRequestWithContext(ctx, method, a.addr+"/v1/"+path, bytes.NewReader(text))
	if err != nil {
		return 0, err
	}
	request.Header.Set("X-Vault-Token", a.token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}
