package arcgis_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// TestMain also reads every text that any test of the package got as an error,
// and demands that no secret of any of its portals stands in it.
func TestMain(m *testing.M) { goleak.VerifyTestMain(secretive{m}) }

type secretive struct{ *testing.M }

func (s secretive) Run() int {
	code := s.M.Run()
	if leaks := told.leaks(); len(leaks) > 0 {
		fmt.Fprintf(os.Stderr, "secrets stand in errors:\n%s\n", strings.Join(leaks, "\n"))
		return 1
	}
	return code
}

var told = &confidant{secrets: map[string]bool{password: true}, texts: map[string]bool{}}

// confidant knows the secrets that crossed the wire, and the texts of errors.
type confidant struct {
	mu      sync.Mutex
	secrets map[string]bool
	texts   map[string]bool
}

func (c *confidant) error(err error) {
	if err == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, verb := range []string{"%v", "%+v", "%#v"} {
		c.texts[fmt.Sprintf(verb, err)] = true
	}
}

// secret keeps what is long enough to be told from a word.
func (c *confidant) secret(value string) {
	if len(value) < 8 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.secrets[value] = true
}

func (c *confidant) leaks() (leaks []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for text := range c.texts {
		for secret := range c.secrets {
			if strings.Contains(text, secret) {
				leaks = append(leaks, fmt.Sprintf("%q in %q", secret, text))
			}
		}
	}
	return leaks
}

var secretFields = regexp.MustCompile(`"(?:token|access_token|client_secret)"\s*:\s*"([^"]+)"`)

// confide hears what a portal is sent and what it answers.
func confide(portal http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ParseForm() == nil {
			for _, name := range []string{"token", "password", "client_secret"} {
				told.secret(r.PostForm.Get(name))
			}
		}
		heard := &hearing{ResponseWriter: w}
		defer func() { // also when the connection is cut
			for _, match := range secretFields.FindAllSubmatch(heard.text.Bytes(), -1) {
				told.secret(string(match[1]))
			}
		}()
		portal.ServeHTTP(heard, r)
	})
}

type hearing struct {
	http.ResponseWriter
	text bytes.Buffer
}

func (h *hearing) Write(text []byte) (int, error) {
	const enough = 1 << 16
	if h.text.Len() < enough {
		h.text.Write(text[:min(len(text), enough)])
	}
	return h.ResponseWriter.Write(text)
}

func (h *hearing) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// The net that the others are read with has no holes.
func TestSecretInAnErrorWouldBeNoticed(t *testing.T) {
	c := &confidant{secrets: map[string]bool{}, texts: map[string]bool{}}
	c.secret("a-client-secret")
	c.error(fmt.Errorf("it said: %s", "harmless"))
	if len(c.leaks()) != 0 {
		t.Error("a harmless text is a leak")
	}
	c.error(fmt.Errorf("it said: %s", "a-client-secret"))
	if len(c.leaks()) == 0 {
		t.Error("a leak is not noticed")
	}
}
