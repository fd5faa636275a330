package publisher

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// duplicateWindow is how long the server remembers message ids. Nothing relies
// on it: a repeated append is recognised by reading the record.
const duplicateWindow = 2 * time.Minute

// StreamConfig is the only configuration under which the record is safe: on
// disk, without any limit, never deleted from, read from the leader, and
// republished only after a message was accepted.
func StreamConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              StreamName,
		Description:       "keyturn: the record of every credential; do not trim, purge or edit",
		Subjects:          []string{recordFilter},
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardNew,
		MaxConsumers:      -1,
		MaxMsgs:           -1,
		MaxBytes:          -1,
		MaxMsgsPerSubject: -1,
		MaxMsgSize:        -1,
		Storage:           jetstream.FileStorage,
		Replicas:          max(replicas, 1),
		Duplicates:        duplicateWindow,
		DenyDelete:        true,
		DenyPurge:         true,
		AllowDirect:       false,
		RePublish:         &jetstream.RePublish{Source: recordFilter, Destination: eventFilter},
	}
}

// Setup creates the stream if it is missing. An existing one is left as it is;
// one that is weaker than StreamConfig is an error that names each difference.
func Setup(ctx context.Context, js jetstream.JetStream, replicas int) error {
	want := StreamConfig(replicas)
	if !connected(js) {
		return readFault("set up the stream "+StreamName, errDisconnected)
	}
	if err := serverProblem(js).err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 4*defaultTimeout)
	defer cancel()
	stream, err := js.Stream(ctx, StreamName)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = js.CreateStream(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // somebody else was first
			stream, err = js.Stream(ctx, StreamName)
		}
	}
	if err != nil {
		return readFault("set up the stream "+StreamName, err)
	}
	info := stream.CachedInfo()
	problems := compare(info, want)
	if have := info.Config.Replicas; have < want.Replicas {
		problems = append(problems, Problem{
			What: fmt.Sprintf("it has %d replica(s), %d were asked for", have, want.Replicas),
			Hint: fmt.Sprintf("nats stream edit %s --replicas %d", StreamName, want.Replicas),
		})
	}
	return weaker(problems)
}

// weaker makes one error of what is wrong with an existing stream.
func weaker(problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	lines := make([]string, 0, len(problems))
	for _, p := range problems {
		lines = append(lines, p.String())
	}
	return permanent("use the stream "+StreamName, "let an administrator of NATS change it as said",
		fmt.Errorf("the record would not be safe in it: %s", strings.Join(lines, "; ")))
}
