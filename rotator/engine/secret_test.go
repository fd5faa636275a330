package engine_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keyturn/keyturn/publisher"
)

// collector carries requests to the portal and keeps every secret that it
// answers with: keys, client secrets, the manager's tokens.
type collector struct {
	inner http.RoundTripper

	mu   sync.Mutex
	seen map[string]bool
}

var secretField = regexp.MustCompile(`"(?:access_token|token|client_secret)"\s*:\s*"([^"]{12,})`)

func (c *collector) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := c.inner.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	for _, match := range secretField.FindAllStringSubmatch(string(text), -1) {
		c.add(match[1])
	}
	answer.Body = io.NopCloser(io.MultiReader(bytes.NewReader(text), failing{err}))
	return answer, nil
}

// CloseIdleConnections is called by the client's own.
func (c *collector) CloseIdleConnections() {
	c.inner.(interface{ CloseIdleConnections() }).CloseIdleConnections()
}

// failing is the rest of a body that broke off; with a nil error, its end.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return 0, io.EOF
}

func (c *collector) add(secret string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[secret] = true
}

// scan looks for every secret in every text, as it is and as it may be encoded.
func (c *collector) scan(t testing.TB, where string, texts []string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	all := strings.Join(texts, "\n")
	for secret := range c.seen {
		for _, form := range []string{secret, url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret))} {
			if strings.Contains(all, form) {
				t.Errorf("%s holds a secret of %d characters", where, len(secret))
			}
		}
	}
}

// faultsSeen collects the texts of errors.
type faultsSeen struct {
	mu    sync.Mutex
	texts []string
}

func (f *faultsSeen) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.texts = append(f.texts, err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err))
}

// logLines writes what was logged as JSON, with all fields.
func logLines(t testing.TB, logs *observer.ObservedLogs) []string {
	t.Helper()
	var lines []string
	encoder := zapcore.NewJSONEncoder(zapcore.EncoderConfig{MessageKey: "msg", EncodeDuration: zapcore.StringDurationEncoder, EncodeTime: zapcore.ISO8601TimeEncoder})
	for _, entry := range logs.All() {
		line, err := encoder.EncodeEntry(entry.Entry, entry.Context)
		must(t, err)
		lines = append(lines, line.String())
	}
	return lines
}

// stream reads all messages of the record as they are stored.
func (w *world) stream(t testing.TB) []string {
	t.Helper()
	stream, err := w.js.Stream(t.Context(), publisher.StreamName)
	must(t, err)
	info, err := stream.Info(t.Context())
	must(t, err)
	var texts []string
	for sequence := uint64(1); sequence <= info.State.LastSeq; sequence++ {
		msg, err := stream.GetMsg(t.Context(), sequence)
		must(t, err)
		texts = append(texts, fmt.Sprint(msg.Subject, msg.Header), string(msg.Data))
	}
	if len(texts) == 0 {
		t.Error("the stream is empty")
	}
	return texts
}
