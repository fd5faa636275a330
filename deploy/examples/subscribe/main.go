// Command subscribe shows how a service follows its keys: it reads the events by
// its durable consumer, so that none is missed while it is away, takes each once,
// and confirms each new key.
//
//	subscribe -url nats://127.0.0.1:4222 -seed shop.nk -name shop
//
// The consumer must be there: see deploy/nats. Without -seed it does not log in,
// as with the server of keyturn dev.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func main() {
	url := flag.String("url", nats.DefaultURL, "NATS server")
	seed := flag.String("seed", "", "file with the nkey seed of the service; none: no login")
	name := flag.String("name", "shop", "name of the service, of its consumer and of its inbox")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := follow(ctx, *url, *seed, *name); err != nil {
		fmt.Fprintln(os.Stderr, "subscribe:", err)
		os.Exit(1)
	}
}

func follow(ctx context.Context, url, seed, name string) error {
	options := []nats.Option{nats.CustomInboxPrefix("_INBOX_" + name), nats.MaxReconnects(-1)}
	if seed != "" {
		login, err := nats.NkeyOptionFromSeed(seed)
		if err != nil {
			return err
		}
		options = append(options, login)
	}
	conn, err := nats.Connect(url, options...)
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	consumer, err := js.Consumer(ctx, "KEYTURN", name)
	if err != nil {
		return fmt.Errorf("consumer %s: %w", name, err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	last := uint64(0) // what came again after a lost acknowledgement is passed over
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if errors.Is(err, context.Canceled) {
			return nil
		}
		if err != nil {
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		if meta.Sequence.Stream > last {
			if err := handle(conn, name, meta.Sequence.Stream, msg); err != nil {
				return err // it comes again
			}
			last = meta.Sequence.Stream
		}
		if err := msg.DoubleAck(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// handle does what the service does with an event.
func handle(conn *nats.Conn, name string, sequence uint64, msg jetstream.Msg) error {
	kind, subject := msg.Headers().Get("ce-type"), msg.Headers().Get("ce-subject")
	fmt.Println(sequence, msg.Headers().Get("ce-id"), kind, subject)
	if kind != "io.keyturn.key.issued" && kind != "io.keyturn.key.promoted" {
		return nil
	}
	var data struct {
		Fact struct {
			Fingerprint string `json:"fingerprint"`
		} `json:"fact"`
	}
	if err := json.Unmarshal(msg.Data(), &data); err != nil {
		return fmt.Errorf("event %d: %w", sequence, err)
	}
	// Here the service reads the key with this fingerprint from Vault, and uses it:
	// after key.issued it is secondary_api_key, after key.promoted it is api_key.
	word, err := json.Marshal(map[string]string{"name": subject, "fingerprint": data.Fact.Fingerprint})
	if err != nil {
		return err
	}
	return conn.Publish("keyturn.ack."+name, word)
}
