package publisher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/rotator/credential"
)

// TypeSigner is the CloudEvents type of an announcement of a signer.
const TypeSigner = "io.keyturn.system.signer"

// SignerInfo is an announced signer.
type SignerInfo struct {
	// Public is its public key.
	Public string
	// VouchedBy is the signer that signed the announcement: itself for the
	// first one.
	VouchedBy string
	// Since is when it was announced.
	Since time.Time
	// Sequence is where the announcement stands.
	Sequence uint64
}

// announcement is the data of an event on the subject of signers.
type announcement struct {
	Schema int    `json:"schema"`
	Public string `json:"public"`
}

// PublishSigner announces a signer, so that what it signs is believed. It does
// nothing if that signer is announced already. The first one of a record vouches
// for itself; a later one needs the predecessor, nil otherwise, which must be
// announced.
func PublishSigner(ctx context.Context, js jetstream.JetStream, signer *Signer, installation string, predecessor *Signer) error {
	op := "announce signer " + signer.Public()
	if !installationForm.MatchString(installation) {
		return permanent(op, "", fmt.Errorf("%q is not a name of an installation", installation))
	}
	ctx, cancel := context.WithTimeout(ctx, 2*defaultTimeout)
	defer cancel()
	stream, err := js.Stream(ctx, StreamName)
	if err != nil {
		return readFault(op, err)
	}
	for {
		signers, last, err := readSigners(ctx, stream, "", func(string, uint64, error) {})
		if err != nil {
			return readFault(op, err)
		}
		if _, ok := signers[signer.public]; ok {
			return nil
		}
		by := signer
		if len(signers) > 0 {
			if predecessor == nil {
				return permanent(op, "keyturn setup with the seed of the signer before", errors.New("a signer is announced already and must vouch for this one"))
			}
			if _, ok := signers[predecessor.public]; !ok {
				return permanent(op, "", fmt.Errorf("the predecessor %s is not announced itself", predecessor.public))
			}
			by = predecessor
		}
		err = announce(ctx, js, stream, op, last, signer.public, installation, by)
		// others may announce too, and a stream may be choosing its leader
		again := credential.IsClass(err, credential.ClassConflict) || credential.IsClass(err, credential.ClassRetryable)
		if !again || wait(ctx, firstPause) != nil {
			return err
		}
	}
}

// announce appends one announcement.
func announce(ctx context.Context, js jetstream.JetStream, stream jetstream.Stream, op string, last credential.Head, public, installation string, by *Signer) error {
	data, err := json.Marshal(announcement{Schema: credential.Schema, Public: public})
	if err != nil {
		return permanent(op, "", err)
	}
	id := uuid.NewString()
	msg := newMessage(signerSubject, systemToken+"/"+signersFacts, "keyturn/"+installation, TypeSigner, id, time.Now(), last, data)
	head, err := seal(msg, by)
	if err != nil {
		return permanent(op, "", err)
	}
	a := appender{js: js, stream: stream, timeout: defaultTimeout, op: op, msg: msg, id: id, hash: head.Hash, after: last.Sequence}
	_, err = a.run(ctx)
	return err
}

// Signers returns the signers that are vouched for, by their public keys. An
// announcement that nobody vouches for is told to Config.OnBad and left out.
func (r *Record) Signers(ctx context.Context) (map[string]SignerInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, 4*r.cfg.Timeout)
	defer cancel()
	signers, _, err := readSigners(ctx, r.stream, r.cfg.Root, r.cfg.OnBad)
	if err != nil {
		return nil, readFault("read the signers", err)
	}
	r.mu.Lock()
	r.signers = signers
	r.mu.Unlock()
	return maps.Clone(signers), nil
}

// readSigners folds the announcements. Root "" believes the first one. The head
// is that of the last message, whoever wrote it.
func readSigners(ctx context.Context, stream jetstream.Stream, root string, onBad func(string, uint64, error)) (map[string]SignerInfo, credential.Head, error) {
	signers := map[string]SignerInfo{}
	var last credential.Head
	for {
		msg, found, err := firstAfter(ctx, stream, signerSubject, last.Sequence)
		if err != nil {
			return nil, last, err
		}
		if !found {
			return signers, last, nil
		}
		info, head, err := readSigner(msg, last, signers, root)
		if err != nil {
			onBad(msg.Subject, msg.Sequence, err)
		} else if _, again := signers[info.Public]; !again {
			signers[info.Public] = info
		}
		last = head
	}
}

func readSigner(msg *jetstream.RawStreamMsg, last credential.Head, signers map[string]SignerInfo, root string) (SignerInfo, credential.Head, error) {
	head, err := headOf(msg.Subject, msg.Sequence, msg.Header, msg.Data)
	if err != nil {
		return SignerInfo{}, credential.Head{Sequence: msg.Sequence}, err
	}
	var a announcement
	if err := json.Unmarshal(msg.Data, &a); err != nil {
		return SignerInfo{}, head, fmt.Errorf("its data: %w", err)
	}
	if a.Schema > credential.Schema {
		return SignerInfo{}, head, newerSchema(a.Schema)
	}
	if kind := attribute(msg.Header, headerType); kind != TypeSigner {
		return SignerInfo{}, head, fmt.Errorf("%q is not an announcement of a signer", kind)
	}
	if attribute(msg.Header, headerPrev) != last.Hash {
		return SignerInfo{}, head, errors.New("it does not follow the announcement before it")
	}
	if !signed(head) {
		return SignerInfo{}, head, errors.New("its signature is not that of its content")
	}
	switch _, vouched := signers[head.Signer]; {
	case vouched:
	case len(signers) > 0:
		return SignerInfo{}, head, fmt.Errorf("nobody vouches for %s, which announces %s", head.Signer, a.Public)
	case head.Signer != a.Public:
		return SignerInfo{}, head, errors.New("the first signer does not vouch for itself")
	case root != "" && a.Public != root:
		return SignerInfo{}, head, fmt.Errorf("the first signer %s is not the pinned %s", a.Public, root)
	}
	since, err := time.Parse(timeLayout, attribute(msg.Header, headerTime))
	if err != nil {
		return SignerInfo{}, head, fmt.Errorf("its time: %w", err)
	}
	return SignerInfo{Public: a.Public, VouchedBy: head.Signer, Since: since, Sequence: msg.Sequence}, head, nil
}
