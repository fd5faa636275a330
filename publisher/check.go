package publisher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The oldest server that keeps the promises the record is built on.
const (
	minMajor = 2
	minMinor = 10
)

// Problem is something that keeps the record from being safe.
type Problem struct {
	// What is wrong, as a sentence.
	What string
	// Hint says what to do about it.
	Hint string
}

// String is "WHAT (try: HINT)".
func (p Problem) String() string {
	if p.Hint == "" {
		return p.What
	}
	return p.What + " (try: " + p.Hint + ")"
}

// err is nil for the zero Problem.
func (p Problem) err() error {
	if p == (Problem{}) {
		return nil
	}
	return permanent("use the NATS server", p.Hint, errors.New(p.What))
}

// Check says whether the server and its stream can carry the record. An empty
// answer with a nil error means yes; an error means that it could not be found
// out.
func Check(ctx context.Context, js jetstream.JetStream) ([]Problem, error) {
	if !connected(js) {
		return nil, readFault("look at the NATS server", errDisconnected)
	}
	var problems []Problem
	if p := serverProblem(js); p != (Problem{}) {
		problems = append(problems, p)
	}
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	stream, err := js.Stream(ctx, StreamName)
	switch {
	case err == nil:
		info := stream.CachedInfo()
		return append(problems, compare(info, StreamConfig(info.Config.Replicas))...), nil
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return append(problems, Problem{"the stream " + StreamName + " is missing", "keyturn setup"}), nil
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled),
		errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount),
		errors.Is(err, nats.ErrNoResponders):
		return append(problems, Problem{
			"JetStream does not answer: it is not enabled on this server or for this account",
			"start nats-server with -js, or enable JetStream for the account",
		}), nil
	}
	return problems, readFault("look at the stream "+StreamName, err)
}

// serverProblem looks at the version of the connected server.
func serverProblem(js jetstream.JetStream) Problem {
	return versionProblem(js.Conn().ConnectedServerVersion())
}

// versionProblem is zero for a version that is new enough.
func versionProblem(version string) Problem {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) == 3 {
		major, errMajor := strconv.Atoi(parts[0])
		minor, errMinor := strconv.Atoi(parts[1])
		switch {
		case errMajor != nil || errMinor != nil: // told below
		case major > minMajor, major == minMajor && minor >= minMinor:
			return Problem{}
		default:
			return Problem{
				What: fmt.Sprintf("the NATS server is version %s, keyturn needs %d.%d or newer", version, minMajor, minMinor),
				Hint: "upgrade nats-server",
			}
		}
	}
	return Problem{
		What: fmt.Sprintf("the NATS server tells version %q, which cannot be read; keyturn needs %d.%d or newer", version, minMajor, minMinor),
		Hint: "is the connection up?",
	}
}

// compare names each respect in which a stream is weaker than it must be.
func compare(info *jetstream.StreamInfo, want jetstream.StreamConfig) []Problem {
	have := info.Config
	var problems []Problem
	edit := func(flags string) string { return "nats stream edit " + StreamName + " " + flags }
	const anew = "move the stream away and create it with keyturn setup"
	bad := func(wrong bool, hint, what string, args ...any) {
		if wrong {
			problems = append(problems, Problem{What: fmt.Sprintf(what, args...), Hint: hint})
		}
	}
	bad(have.Storage != want.Storage, anew, "storage is %s, not file", have.Storage)
	bad(have.Retention != want.Retention, anew, "retention is %s, not limits: messages vanish once read", have.Retention)
	bad(have.PersistMode != want.PersistMode, anew, "persist mode is async: acknowledged messages can be lost")
	bad(have.NoAck, anew, "acknowledgements are switched off")
	bad(have.Sealed, anew, "the stream is sealed: nothing can be appended")
	bad(have.Mirror != nil, anew, "it is a mirror")
	bad(len(have.Sources) > 0, edit("without its sources"), "it takes messages from other streams")
	bad(have.SubjectTransform != nil, edit("without its subject transform"), "it changes subjects")
	bad(!slices.Equal(have.Subjects, want.Subjects), edit("--subjects '"+recordFilter+"'"), "its subjects are %q, not %q", have.Subjects, want.Subjects)

	bad(have.Discard != want.Discard, edit("--discard new"), "it would drop old messages, were it ever limited")
	bad(have.MaxAge > 0, edit("--max-age 0"), "messages are dropped after %s", have.MaxAge)
	bad(have.MaxMsgs > 0, edit("--max-msgs=-1"), "it holds at most %d messages", have.MaxMsgs)
	bad(have.MaxBytes > 0, edit("--max-bytes=-1"), "it holds at most %d bytes", have.MaxBytes)
	bad(have.MaxMsgsPerSubject > 0, edit("--max-msgs-per-subject=-1"), "it holds at most %d messages per credential", have.MaxMsgsPerSubject)
	bad(have.MaxMsgSize > 0, edit("--max-msg-size=-1"), "messages are limited to %d bytes", have.MaxMsgSize)
	bad(have.MaxConsumers > 0, anew, "it allows at most %d readers", have.MaxConsumers)

	bad(!have.DenyDelete, anew, "messages may be deleted")
	bad(!have.DenyPurge, anew, "it may be purged: an emptied record looks like a new one")
	bad(have.AllowRollup, edit("--no-allow-rollup"), "roll-ups are allowed: one message can replace a whole record")
	bad(have.AllowMsgTTL, anew, "messages may carry a time to live")
	bad(have.AllowMsgSchedules, anew, "scheduled messages are allowed, which also allows purges")
	bad(have.AllowMsgCounter, anew, "it is a stream of counters")
	bad(have.AllowDirect, edit("--no-allow-direct"), "direct reads are on: a reader may get an old state")

	republish := have.RePublish
	bad(republish == nil || republish.Source != want.RePublish.Source || republish.Destination != want.RePublish.Destination || republish.HeadersOnly,
		edit(fmt.Sprintf("--republish-source '%s' --republish-destination '%s'", recordFilter, eventFilter)),
		"committed events are not republished from %q to %q: subscribers hear nothing", recordFilter, eventFilter)
	bad(info.State.FirstSeq > 1 && info.State.FirstSeq > have.FirstSeq, "restore the stream from a backup",
		"its first %d messages are gone", info.State.FirstSeq-1)
	return problems
}
