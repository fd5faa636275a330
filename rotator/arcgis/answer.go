package arcgis

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode"
)

// refusal is a no of the portal, in whichever shape it came.
type refusal struct {
	status      int // of HTTP
	code        int // decides; 0 = none was given
	messageCode string
	message     string // printable; scrubbed and cut by judge
}

// Error shows the message and the code.
func (r *refusal) Error() string {
	switch {
	case r.message == "":
		return fmt.Sprintf("the portal refuses (code %d)", r.code)
	case r.code == 0:
		return r.message + " (no code)"
	}
	return fmt.Sprintf("%s (code %d)", r.message, r.code)
}

// garbage is an answer that is none: it says what came, without quoting it.
type garbage string

// Error says what came.
func (g garbage) Error() string { return "the portal sent " + string(g) }

// envelope is every shape in which the portal says no.
type envelope struct {
	Error         json.RawMessage `json:"error"`
	Description   json.RawMessage `json:"error_description"`
	Success       json.RawMessage `json:"success"`
	Status        json.RawMessage `json:"status"`
	Code          json.RawMessage `json:"code"`
	MessageCode   json.RawMessage `json:"messageCode"`
	Message       json.RawMessage `json:"message"`
	StatusMessage json.RawMessage `json:"statusMessage"`
	Messages      json.RawMessage `json:"messages"`
	Details       json.RawMessage `json:"details"`
}

// decodeAnswer decodes a yes into out. Otherwise the error is a *refusal or a
// garbage.
func decodeAnswer(status int, contentType string, text []byte, out any) error {
	if len(text) > maxBody {
		return garbage("an answer of more than 8 MiB")
	}
	text = bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")))
	var e envelope
	if len(text) == 0 || text[0] != '{' || json.Unmarshal(text, &e) != nil {
		return garbage(describeGarbage(contentType, text))
	}
	if no := e.refusal(); no != nil {
		no.status = status
		if no.code == 0 && status >= 400 {
			no.code = status
		}
		return no
	}
	if status >= 300 {
		return &refusal{status: status, code: status}
	}
	if out != nil && json.Unmarshal(text, out) != nil {
		return garbage("JSON of another shape than expected")
	}
	return nil
}

// refusal looks for a no; the billing and job shapes come first.
func (e envelope) refusal() *refusal {
	switch strings.ToLower(word(e.Status)) {
	case "failure", "failed", "error":
		return &refusal{
			code: number(e.Code), messageCode: word(e.MessageCode),
			message: printable(word(e.Message), word(e.StatusMessage), first(e.Messages), first(e.Details)),
		}
	}
	switch raw := string(e.Error); {
	case raw == "" || raw == "null" || raw == "false" || raw == `""`:
	case raw[0] == '{':
		var inner envelope
		if json.Unmarshal(e.Error, &inner) != nil {
			return &refusal{message: "an error of an unknown shape"}
		}
		return &refusal{
			code: number(inner.Code), messageCode: word(inner.MessageCode),
			message: printable(word(inner.Message), word(inner.Description), word(inner.Error), first(inner.Details)),
		}
	default: // the plain OAuth shape
		return &refusal{code: number(e.Code), message: printable(word(e.Description), word(e.Message), word(e.Error))}
	}
	if string(e.Success) == "false" {
		no := &refusal{code: number(e.Code), messageCode: word(e.MessageCode), message: printable(word(e.Message))}
		if no.message == "" {
			no.message = "the portal says only that it was no success"
		}
		return no
	}
	return nil
}

// word reads a string; anything else is empty.
func word(raw json.RawMessage) (s string) {
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// first reads the first string of a list, or a string.
func first(raw json.RawMessage) string {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil && len(list) > 0 {
		return word(list[0])
	}
	return word(raw)
}

// number reads a code, which may be quoted; anything else is 0.
func number(raw json.RawMessage) int {
	text := string(raw)
	if s := word(raw); s != "" {
		text = s
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return n
}

// printable joins the first two different texts, without control characters and
// without words that are too long for words (keys are).
func printable(texts ...string) string {
	const enough, longest = 2, 64
	var parts []string
	for _, text := range texts {
		words := strings.FieldsFunc(strings.ToValidUTF8(text, "?"), func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) })
		for i, word := range words {
			if len(word) > longest {
				words[i] = "[…]"
			}
		}
		text = strings.Join(words, " ")
		if text == "" || (len(parts) > 0 && strings.Contains(parts[0], text)) {
			continue
		}
		if parts = append(parts, text); len(parts) == enough {
			break
		}
	}
	return strings.Join(parts, " ")
}

// cut bounds a message.
func cut(message string) string {
	const most = 200
	if runes := []rune(message); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return message
}

func describeGarbage(contentType string, text []byte) string {
	switch {
	case len(text) == 0:
		return "an empty answer"
	case text[0] == '<' || strings.HasPrefix(contentType, "text/html"):
		return "a web page instead of JSON"
	case text[0] == '{' || text[0] == '[':
		return "JSON that is broken, cut or no object"
	}
	return "an answer that is not JSON"
}

// isThrottle tells a portal that wants to be left alone from one that denies:
// both say 403. What it denies, it explains.
func isThrottle(status int, err error) bool {
	var no *refusal
	if !errors.As(err, &no) {
		return status == http.StatusTooManyRequests || status == http.StatusForbidden
	}
	if status == http.StatusTooManyRequests || no.code == http.StatusTooManyRequests {
		return true
	}
	if no.code != http.StatusForbidden {
		return false
	}
	message := strings.ToLower(no.message)
	for _, sign := range []string{"too many", "retry after", "try again", "rate limit", "throttl"} {
		if strings.Contains(message, sign) {
			return true
		}
	}
	return message == "" || strings.Trim(message, ". ") == "forbidden"
}

// secondsIn finds "… 60 seconds …" in a message; 0 = it says nothing such.
func secondsIn(message string) int {
	before := ""
	for word := range strings.FieldsSeq(message) {
		if n, err := strconv.Atoi(before); err == nil && n > 0 && strings.HasPrefix(strings.ToLower(word), "sec") {
			return n
		}
		before = word
	}
	return 0
}
