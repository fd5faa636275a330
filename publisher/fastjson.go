package publisher

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"time"
)

// Recovery reads a state per credential, and four fifths of its time went into
// encoding/json. What follows reads the one form that encoding/json writes
// (no blanks, no null, each key once and spelled as declared) into the types
// that states are made of. Whatever else it meets, it gives up, and the caller
// uses encoding/json: so it may know less, but never says anything else.

// scanner stands somewhere in a JSON text.
type scanner struct {
	data []byte
	at   int
}

// op reads one value; false = give up.
type op func(s *scanner, v reflect.Value) bool

// bodyOp reads the data of an event. Like a compiled regular expression it is
// made once and never changes.
var bodyOp = compile(reflect.TypeFor[body](), 0)

// fastUnmarshal reads data into b, or reports that it cannot.
func fastUnmarshal(data []byte, b *body) bool {
	if bodyOp == nil {
		return false
	}
	s := &scanner{data: data}
	if !bodyOp(s, reflect.ValueOf(b).Elem()) || s.at != len(data) {
		*b = body{}
		return false
	}
	return true
}

// compile makes the op of a type; nil = it holds something that is not known.
func compile(t reflect.Type, depth int) op {
	const maxDepth = 12 // nothing here is recursive
	switch {
	case depth > maxDepth:
		return nil
	case t == reflect.TypeFor[time.Time]():
		return readTime
	case t == reflect.TypeFor[json.RawMessage]():
		return readRaw
	case reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()):
		return nil
	case reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		return readText
	}
	switch t.Kind() {
	case reflect.String:
		return readString
	case reflect.Bool:
		return readBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return readInt
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return readUint
	case reflect.Pointer:
		return readPointer(t.Elem(), compile(t.Elem(), depth+1))
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return nil // base64
		}
		return readSlice(t, compile(t.Elem(), depth+1))
	case reflect.Map:
		if t != reflect.TypeFor[map[string]string]() {
			return nil
		}
		return readMap
	case reflect.Struct:
		fields := map[string]field{}
		if !collectFields(t, nil, depth, fields) || len(fields) > 64 {
			return nil
		}
		return readStruct(fields)
	}
	return nil
}

// field is a field of a struct; bit is its own.
type field struct {
	path []int
	bit  uint64
	op   op
}

// collectFields fills fields: name in JSON -> field. False = not known.
func collectFields(t reflect.Type, path []int, depth int, fields map[string]field) bool {
	for i := range t.NumField() {
		f := t.Field(i)
		tag, hasTag := f.Tag.Lookup("json")
		name, options, _ := strings.Cut(tag, ",")
		here := append(append([]int(nil), path...), i)
		if f.Anonymous && !hasTag && f.IsExported() && f.Type.Kind() == reflect.Struct {
			if !collectFields(f.Type, here, depth, fields) {
				return false
			}
			continue
		}
		if !f.IsExported() || name == "-" || name == "" || strings.Contains(options, "string") {
			return false
		}
		read := compile(f.Type, depth+1)
		if _, again := fields[name]; again || read == nil {
			return false
		}
		fields[name] = field{path: here, bit: 1 << len(fields), op: read}
	}
	return true
}

// next takes the byte c, if it stands there.
func (s *scanner) next(c byte) bool {
	if s.at < len(s.data) && s.data[s.at] == c {
		s.at++
		return true
	}
	return false
}

// text takes a string of printable ASCII without escapes, without its quotes.
func (s *scanner) text() ([]byte, bool) {
	if !s.next('"') {
		return nil, false
	}
	for i := s.at; i < len(s.data); i++ {
		switch c := s.data[i]; {
		case c == '"':
			text := s.data[s.at:i]
			s.at = i + 1
			return text, true
		case c == '\\' || c < ' ' || c > '~':
			return nil, false
		}
	}
	return nil, false
}

// literal takes a string that may hold escapes and any characters.
func (s *scanner) literal() (string, bool) {
	begin := s.at
	if plain, ok := s.text(); ok {
		return string(plain), true
	}
	s.at = begin
	if !s.next('"') {
		return "", false
	}
	for s.at < len(s.data) {
		switch s.data[s.at] {
		case '\\':
			s.at++ // and what it escapes
		case '"':
			s.at++
			var text string
			err := json.Unmarshal(s.data[begin:s.at], &text)
			return text, err == nil
		}
		s.at++
	}
	return "", false
}

func readString(s *scanner, v reflect.Value) bool {
	text, ok := s.literal()
	if ok {
		v.SetString(text)
	}
	return ok
}

func readTime(s *scanner, v reflect.Value) bool {
	begin := s.at
	if _, ok := s.text(); !ok {
		return false
	}
	return v.Addr().Interface().(*time.Time).UnmarshalJSON(s.data[begin:s.at]) == nil
}

func readText(s *scanner, v reflect.Value) bool {
	text, ok := s.text()
	return ok && v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText(text) == nil
}

func readBool(s *scanner, v reflect.Value) bool {
	rest := s.data[s.at:]
	switch {
	case len(rest) >= 4 && string(rest[:4]) == "true":
		s.at += 4
		v.SetBool(true)
	case len(rest) >= 5 && string(rest[:5]) == "false":
		s.at += 5
		v.SetBool(false)
	default:
		return false
	}
	return true
}

// digits takes a whole number without a sign, of at most 18 digits.
func (s *scanner) digits() (uint64, bool) {
	begin := s.at
	n := uint64(0)
	for s.at < len(s.data) && s.data[s.at] >= '0' && s.data[s.at] <= '9' {
		n = 10*n + uint64(s.data[s.at]-'0')
		s.at++
	}
	length := s.at - begin
	if length == 0 || length > 18 || length > 1 && s.data[begin] == '0' {
		return 0, false
	}
	// a fraction or an exponent is refused by who reads what follows a value
	return n, true
}

func readUint(s *scanner, v reflect.Value) bool {
	n, ok := s.digits()
	if !ok || v.OverflowUint(n) {
		return false
	}
	v.SetUint(n)
	return true
}

func readInt(s *scanner, v reflect.Value) bool {
	negative := s.next('-')
	n, ok := s.digits()
	i := int64(n)
	if negative {
		i = -i
	}
	if !ok || v.OverflowInt(i) {
		return false
	}
	v.SetInt(i)
	return true
}

// readRaw takes an object as it is. Its inside is not looked at: whoever reads
// it does that.
func readRaw(s *scanner, v reflect.Value) bool {
	begin := s.at
	if s.at >= len(s.data) || s.data[s.at] != '{' {
		return false
	}
	depth := 0
	for ; s.at < len(s.data); s.at++ {
		switch s.data[s.at] {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				s.at++
				v.SetBytes(s.data[begin:s.at:s.at])
				return true
			}
		case '"':
			for s.at++; s.at < len(s.data) && s.data[s.at] != '"'; s.at++ {
				if s.data[s.at] == '\\' {
					s.at++
				}
			}
		}
	}
	return false
}

func readPointer(elem reflect.Type, read op) op {
	if read == nil {
		return nil
	}
	return func(s *scanner, v reflect.Value) bool {
		v.Set(reflect.New(elem))
		return read(s, v.Elem())
	}
}

func readSlice(t reflect.Type, read op) op {
	if read == nil {
		return nil
	}
	return func(s *scanner, v reflect.Value) bool {
		if !s.next('[') {
			return false
		}
		v.Set(reflect.MakeSlice(t, 0, 2))
		if s.next(']') {
			return true
		}
		for n := 0; ; n++ {
			v.Grow(1)
			v.SetLen(n + 1)
			if !read(s, v.Index(n)) {
				return false
			}
			if s.next(']') {
				return true
			}
			if !s.next(',') {
				return false
			}
		}
	}
}

func readMap(s *scanner, v reflect.Value) bool {
	if !s.next('{') {
		return false
	}
	m := map[string]string{}
	v.Set(reflect.ValueOf(m))
	if s.next('}') {
		return true
	}
	for {
		key, ok := s.literal()
		if !ok || !s.next(':') {
			return false
		}
		value, ok := s.literal()
		if !ok {
			return false
		}
		m[key] = value
		if s.next('}') {
			return true
		}
		if !s.next(',') {
			return false
		}
	}
}

func readStruct(fields map[string]field) op {
	return func(s *scanner, v reflect.Value) bool {
		if !s.next('{') {
			return false
		}
		if s.next('}') {
			return true
		}
		seen := uint64(0)
		for {
			name, ok := s.text()
			if !ok || !s.next(':') {
				return false
			}
			f, ok := fields[string(name)]
			if !ok || seen&f.bit != 0 {
				return false
			}
			seen |= f.bit
			to := v
			for _, i := range f.path {
				to = to.Field(i)
			}
			if !f.op(s, to) {
				return false
			}
			if s.next('}') {
				return true
			}
			if !s.next(',') {
				return false
			}
		}
	}
}
