package emulator

import (
	"errors"
	"slices"
	"strings"
)

// A small part of the portal's query language: words, "phrases", field:word, field:(…), AND, OR, NOT, -word
// and brackets. Words that stand side by side are joined by AND.

type matcher func(*item) bool

var errQuery = errors.New("the query cannot be read")

type queryParser struct {
	tokens []string
	pos    int
}

// parseQuery turns a query into a test of items; an empty one lets all pass.
func parseQuery(text string) (matcher, error) {
	q := &queryParser{tokens: queryTokens(text)}
	if len(q.tokens) == 0 {
		return func(*item) bool { return true }, nil
	}
	m, err := q.either("")
	if err == nil && q.pos < len(q.tokens) {
		err = errQuery
	}
	return m, err
}

// queryTokens cuts the text into brackets, words, fields ("name:") and phrases (with the quote in front).
func queryTokens(text string) []string {
	var tokens []string
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		switch text[0] {
		case '(', ')':
			tokens, text = append(tokens, text[:1]), text[1:]
			continue
		case '"':
			phrase, rest, _ := strings.Cut(text[1:], `"`)
			tokens, text = append(tokens, `"`+phrase), rest
			continue
		}
		end := strings.IndexAny(text, " \t\n()\"")
		if end < 0 {
			end = len(text)
		}
		if i := strings.IndexByte(text[:end], ':'); i >= 0 {
			end = i + 1
		}
		tokens, text = append(tokens, text[:end]), text[end:]
	}
	return tokens
}

func (q *queryParser) peek() string {
	if q.pos < len(q.tokens) {
		return q.tokens[q.pos]
	}
	return ""
}

func (q *queryParser) either(field string) (matcher, error) {
	left, err := q.both(field)
	for err == nil && q.peek() == "OR" {
		q.pos++
		var right matcher
		first := left
		right, err = q.both(field)
		left = func(it *item) bool { return first(it) || right(it) }
	}
	return left, err
}

func (q *queryParser) both(field string) (matcher, error) {
	left, err := q.one(field)
	for err == nil {
		switch q.peek() {
		case "", ")", "OR":
			return left, nil
		case "AND":
			q.pos++
		}
		var right matcher
		first := left
		right, err = q.one(field)
		left = func(it *item) bool { return first(it) && right(it) }
	}
	return left, err
}

func (q *queryParser) one(field string) (matcher, error) {
	t := q.peek()
	q.pos++
	switch {
	case t == "" || t == ")" || t == "AND" || t == "OR":
		return nil, errQuery
	case t == "NOT" || t == "-":
		m, err := q.one(field)
		return func(it *item) bool { return !m(it) }, err
	case t == "(":
		m, err := q.either(field)
		if err == nil && q.peek() != ")" {
			err = errQuery
		}
		q.pos++
		return m, err
	case t[0] == '"':
		return word(field, t[1:]), nil
	case t[0] == '-':
		q.pos--
		q.tokens[q.pos] = t[1:]
		m, err := q.one(field)
		return func(it *item) bool { return !m(it) }, err
	case strings.HasSuffix(t, ":"):
		return q.one(strings.ToLower(strings.TrimSuffix(t, ":")))
	}
	return word(field, t), nil
}

func word(field, want string) matcher {
	want = strings.ToLower(want)
	any := func(list []string) bool {
		return slices.ContainsFunc(list, func(have string) bool { return strings.EqualFold(have, want) })
	}
	has := func(text string) bool { return strings.Contains(strings.ToLower(text), want) }
	switch field {
	case "id":
		return func(it *item) bool { return it.ID == want }
	case "owner":
		return func(it *item) bool { return strings.EqualFold(it.Owner, want) }
	case "type":
		return func(it *item) bool { return strings.EqualFold(it.Type, want) }
	case "typekeywords":
		return func(it *item) bool { return any(it.TypeKeywords) }
	case "tags":
		return func(it *item) bool { return any(it.Tags) }
	case "title":
		return func(it *item) bool { return has(it.Title) }
	case "ownerfolder":
		return func(it *item) bool { return it.Folder == want }
	case "":
		return func(it *item) bool {
			return has(it.Title) || any(it.Tags) || has(it.Fields.Snippet) || has(it.Fields.Description) || has(it.Type) || it.ID == want
		}
	}
	return func(*item) bool { return true } // orgid, access and the like: all items here are alike in these
}
