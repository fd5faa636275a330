package emulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// durationJSON is a duration that is written as "1.5s" and read from that or from nanoseconds.
type durationJSON time.Duration

func (d durationJSON) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(d).String())
}

func (d *durationJSON) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		v, err := time.ParseDuration(text)
		*d = durationJSON(v)
		return err
	}
	var n int64
	if err := json.Unmarshal(data, &n); err != nil {
		return fmt.Errorf("want a duration such as \"30s\", got %s", data)
	}
	*d = durationJSON(n)
	return nil
}

// decodeStrict reads one JSON value and refuses names that v does not have.
func decodeStrict(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}
