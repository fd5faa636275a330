package publisher

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/rotator/credential"
)

const defaultTimeout = 5 * time.Second

var installationForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,63}$`)

// Config holds what a Record needs.
type Config struct {
	// JetStream is the context of an open connection. Required.
	JetStream jetstream.JetStream
	// Signer signs what Append writes; without it the Record only reads.
	Signer *Signer
	// Installation names this installation of keyturn in each event:
	// letters, digits, '.', '_' and '-', 1 to 63. Required with a Signer.
	Installation string
	// Unchecked opens any stream there is, for auditors: one that is weaker than
	// StreamConfig can be verified, and not be appended to.
	Unchecked bool
	// Root is the public key of the first signer, as setup printed it. Empty =
	// the first announcement on the record is believed.
	Root string
	// Timeout is the limit of each call to JetStream; 0 = 5 s.
	Timeout time.Duration

	// OnAppend is told the type of each event that was committed here. Optional.
	OnAppend func(eventType string)
	// OnConflict is told of each append that lost to another writer. Optional.
	OnConflict func()
	// OnBad is told of each stored message that is passed over because it cannot
	// be read, and of each announcement of a signer that nobody vouches for. It may be called by
	// several goroutines at once. Optional.
	OnBad func(subject string, sequence uint64, err error)
	// OnRetry is told why a watch lost its stream before it tries again. Optional.
	OnRetry func(err error)
}

// Record reads and appends the events of credentials. It keeps no state of
// them. All methods may be called by several goroutines at once.
type Record struct {
	cfg    Config
	js     jetstream.JetStream
	stream jetstream.Stream
	source string

	signer atomic.Pointer[Signer] // what Append signs with; nil = nothing

	mu      sync.Mutex
	signers map[string]SignerInfo // public key -> who vouched; read when first needed
}

// Open returns the Record in the stream. A stream that is missing or weaker
// than StreamConfig is refused.
func Open(ctx context.Context, cfg Config) (*Record, error) {
	if cfg.JetStream == nil {
		return nil, permanent("open", "", errors.New("no JetStream context is given"))
	}
	if cfg.Signer != nil && !installationForm.MatchString(cfg.Installation) {
		return nil, permanent("open", "", fmt.Errorf("%q is not a name of an installation: want letters, digits, '.', '_' and '-', 1 to 63", cfg.Installation))
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.OnAppend == nil {
		cfg.OnAppend = func(string) {}
	}
	if cfg.OnConflict == nil {
		cfg.OnConflict = func() {}
	}
	if cfg.OnBad == nil {
		cfg.OnBad = func(string, uint64, error) {}
	}
	if cfg.OnRetry == nil {
		cfg.OnRetry = func(error) {}
	}
	if !connected(cfg.JetStream) {
		return nil, readFault("open", errDisconnected)
	}
	if err := serverProblem(cfg.JetStream).err(); err != nil {
		return nil, err
	}
	r := &Record{cfg: cfg, js: cfg.JetStream, source: "keyturn/" + cfg.Installation}
	ctx, cancel := r.call(ctx)
	defer cancel()
	stream, err := cfg.JetStream.Stream(ctx, StreamName)
	if err != nil {
		return nil, readFault("open the stream "+StreamName, err)
	}
	info := stream.CachedInfo()
	if cfg.Unchecked {
		cfg.Signer = nil
	} else if err := weaker(compare(info, StreamConfig(info.Config.Replicas))); err != nil {
		return nil, err
	}
	r.stream = stream
	r.signer.Store(cfg.Signer)
	return r, nil
}

// Weak says in what the stream is weaker than StreamConfig; it matters for a
// Record that was opened Unchecked.
func (r *Record) Weak(ctx context.Context) ([]Problem, error) {
	info, err := r.info(ctx)
	if err != nil {
		return nil, readFault("look at the stream "+StreamName, err)
	}
	return compare(info, StreamConfig(info.Config.Replicas)), nil
}

// SignWith makes another signer sign what is appended from now on. One that
// nobody vouches for is refused, as a permanent fault.
func (r *Record) SignWith(ctx context.Context, signer *Signer) error {
	op := "sign with " + signer.Public()
	known, err := r.known(ctx, signer.Public())
	if err != nil {
		return err
	}
	if !known {
		return permanent(op, "keyturn setup --new-signer", errors.New("nobody on the record vouches for it"))
	}
	r.signer.Store(signer)
	return nil
}

// Signer is what signs now; nil = this record is for reading only.
func (r *Record) Signer() *Signer { return r.signer.Load() }

// call limits one call to JetStream.
func (r *Record) call(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, r.cfg.Timeout)
}

// Load returns the state of a credential and the head to append to. Both are
// zero for a credential that has no record.
func (r *Record) Load(ctx context.Context, name credential.Name) (credential.State, credential.Head, error) {
	op := fmt.Sprintf("load %s", name)
	if _, err := credential.ParseName(string(name)); err != nil {
		return credential.State{}, credential.Head{}, permanent(op, "", err)
	}
	ctx, cancel := r.call(ctx)
	defer cancel()
	msg, err := r.stream.GetLastMsgForSubject(ctx, RecordSubject(name))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return credential.State{}, credential.Head{}, nil
	}
	if err != nil {
		return credential.State{}, credential.Head{}, readFault(op, err)
	}
	entry, err := decode(msg.Subject, msg.Sequence, msg.Header, msg.Data)
	if err != nil {
		return credential.State{}, credential.Head{}, permanent(op, "", fmt.Errorf("message %d: %w", msg.Sequence, err))
	}
	return entry.State, entry.Head, nil
}

// get reads the message with that sequence; found is false if there is none.
func (r *Record) get(ctx context.Context, sequence uint64) (msg *jetstream.RawStreamMsg, found bool, err error) {
	ctx, cancel := r.call(ctx)
	defer cancel()
	msg, err = r.stream.GetMsg(ctx, sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, false, nil
	}
	return msg, err == nil, err
}

// firstAfter reads the first message of a subject after a sequence; found is
// false if there is none.
func (r *Record) firstAfter(ctx context.Context, subject string, sequence uint64) (msg *jetstream.RawStreamMsg, found bool, err error) {
	ctx, cancel := r.call(ctx)
	defer cancel()
	return firstAfter(ctx, r.stream, subject, sequence)
}

func firstAfter(ctx context.Context, stream jetstream.Stream, subject string, sequence uint64) (*jetstream.RawStreamMsg, bool, error) {
	msg, err := stream.GetMsg(ctx, sequence+1, jetstream.WithGetMsgSubject(subject))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, false, nil
	}
	return msg, err == nil, err
}

// connected reports whether a publish would be sent now and not be buffered.
func connected(js jetstream.JetStream) bool { return js.Conn().Status() == nats.CONNECTED }
