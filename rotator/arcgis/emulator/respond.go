package emulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"strings"
)

// reply is a whole answer before it goes onto the wire, so that a fault can still spoil it.
type reply struct {
	status int
	kind   string // content type
	body   []byte
	header map[string]string
}

const (
	kindJSON = "application/json;charset=utf-8"
	kindHTML = "text/html;charset=utf-8"
)

func (r reply) write(w http.ResponseWriter) {
	for k, v := range r.header {
		w.Header().Set(k, v)
	}
	w.Header().Set("Content-Type", r.kind)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(r.status)
	_, _ = w.Write(r.body) // the client is gone if this fails; nobody is left to tell
}

// portalError is a refusal in the portal's manner: HTTP 200 with an error body.
type portalError struct {
	Status      int // of HTTP; 0 = 200
	Code        int
	MessageCode string
	Message     string
	Details     []string
	OAuth       string // the "error" and "error_description" of oauth2 endpoints; empty = not one of those
}

func (e *portalError) Error() string { return fmt.Sprintf("%d: %s", e.Code, e.Message) }

// MarshalJSON writes the value of the "error" field.
func (e *portalError) MarshalJSON() ([]byte, error) {
	details := e.Details
	if details == nil {
		details = []string{}
	}
	if e.OAuth != "" {
		return json.Marshal(struct {
			Code        int      `json:"code"`
			Error       string   `json:"error"`
			Description string   `json:"error_description"`
			Message     string   `json:"message"`
			Details     []string `json:"details"`
		}{e.Code, e.OAuth, e.Message, e.Message, details})
	}
	return json.Marshal(struct {
		Code        int      `json:"code"`
		MessageCode string   `json:"messageCode,omitempty"`
		Message     string   `json:"message"`
		Details     []string `json:"details"`
	}{e.Code, e.MessageCode, e.Message, details})
}

func errInvalidToken() error { return &portalError{Code: 498, Message: "Invalid token."} }

func errTokenRequired() error {
	return &portalError{Code: 499, MessageCode: "GWM_0003", Message: "Token Required", Details: []string{"Token Required"}}
}

func errForbidden(details ...string) error {
	return &portalError{Code: 403, MessageCode: "GWM_0003",
		Message: "You do not have permissions to access this resource or perform this operation.", Details: details}
}

func errNoItem() error {
	return &portalError{Code: 400, MessageCode: "CONT_0001", Message: "Item does not exist or is inaccessible."}
}

func errBad(message string, details ...string) error {
	return &portalError{Code: 400, Message: message, Details: details}
}

func errOAuth(code int, kind, description string) error {
	return &portalError{Code: code, OAuth: kind, Message: description}
}

func errNotFound() error { return &portalError{Code: 404, Message: "Not Found"} }

// answer turns what a handler returned into a reply in the format that the client asked for.
func answer(form string, value any, err error) reply {
	status := http.StatusOK
	if err != nil {
		var pe *portalError
		if !errors.As(err, &pe) {
			pe = &portalError{Code: 500, Message: err.Error()}
		}
		if pe.Status != 0 {
			status = pe.Status
		}
		value = map[string]any{"error": pe}
	}
	indent := form != "json"
	body, err := encode(value, indent)
	if err != nil {
		return reply{status: http.StatusInternalServerError, kind: "text/plain", body: []byte(err.Error())}
	}
	if form == "json" || form == "pjson" {
		return reply{status: status, kind: kindJSON, body: body}
	}
	return page(status, "<pre>"+html.EscapeString(string(body))+"</pre>")
}

func encode(value any, indent bool) ([]byte, error) {
	if indent {
		return json.MarshalIndent(value, "", "  ")
	}
	return json.Marshal(value)
}

func page(status int, body string) reply {
	var b strings.Builder
	b.WriteString("<!DOCTYPE html>\n<html><head><title>" + Banner + "</title></head><body>\n<h1>" + Banner + "</h1>\n")
	b.WriteString(body)
	b.WriteString("\n</body></html>\n")
	return reply{status: status, kind: kindHTML, body: []byte(b.String())}
}

// success is the body of many answers.
type success struct {
	Success bool   `json:"success"`
	ID      string `json:"id,omitempty"`
	ItemID  string `json:"itemId,omitempty"`
}
