package control

import "github.com/keyturn/keyturn/rotator/credential"

// DecodeForFuzz decodes a request as each endpoint does, and returns the names
// of those that were taken.
func DecodeForFuzz(data []byte) (taken []credential.Name) {
	var apply Apply
	if decodeRequest(data, &apply, &apply.Name) == nil {
		taken = append(taken, apply.Name)
	}
	if ack, err := decodeAck(data); err == nil {
		taken = append(taken, ack.Name)
	}
	var rotate Rotate
	if decodeRequest(data, &rotate, &rotate.Name) == nil {
		taken = append(taken, rotate.Name)
	}
	return taken
}
