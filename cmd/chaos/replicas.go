package main

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/publisher"
)

// readReplicas reads the stream once from each node, and says where two differ.
// A reader lives on the node that it was put on, and reads what lies there.
func (w *world) readReplicas(ctx context.Context, r *result) ([]message, error) {
	stream, err := w.cluster.js.Stream(ctx, publisher.StreamName)
	if err != nil {
		return nil, err
	}
	last := stream.CachedInfo().State.LastSeq
	read := map[string][]message{}
	var first []message
	for tries := 0; len(read) < nodes && tries < 20*nodes; tries++ {
		reader, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
			AckPolicy: jetstream.AckNonePolicy, DeliverPolicy: jetstream.DeliverAllPolicy, Replicas: 1, MemoryStorage: true,
			InactiveThreshold: time.Minute,
		})
		if err != nil {
			return nil, err
		}
		info := reader.CachedInfo()
		if info.Cluster == nil || read[info.Cluster.Leader] != nil {
			if err := stream.DeleteConsumer(ctx, info.Name); err != nil {
				return nil, err
			}
			continue
		}
		messages, err := readAll(reader, last)
		if err != nil {
			return nil, fmt.Errorf("on %s: %w", info.Cluster.Leader, err)
		}
		if read[info.Cluster.Leader] = messages; first == nil {
			first = messages
		}
		compare(info.Cluster.Leader, first, messages, r)
	}
	if len(read) < nodes {
		return nil, fmt.Errorf("read from %d nodes only", len(read))
	}
	return first, nil
}

// readAll reads up to a sequence, in the order in which it comes.
func readAll(reader jetstream.Consumer, last uint64) (messages []message, err error) {
	for deadline := time.Now().Add(5 * time.Minute); ; {
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("message %d of %d was not reached", len(messages), last)
		}
		batch, err := reader.Fetch(1000, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			return nil, err
		}
		for m := range batch.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				return nil, err
			}
			messages = append(messages, message{m.Subject(), meta.Sequence.Stream, m.Headers(), m.Data(), meta.Timestamp})
			if meta.Sequence.Stream >= last {
				return messages, nil
			}
		}
	}
}

// compare looks for a message that is not the same on two nodes.
func compare(node string, first, messages []message, r *result) {
	r.looked[badReplica] += len(messages)
	if len(messages) != len(first) {
		r.violate(badReplica, "", "%d messages on %s, %d on another node", len(messages), node, len(first))
	}
	for i, m := range messages {
		if i == len(first) {
			return
		}
		if m.Sequence != first[i].Sequence || hashOf(m) != hashOf(first[i]) {
			r.violate(badReplica, "", "message %d on %s is not the %d of another node", m.Sequence, node, first[i].Sequence)
			return
		}
	}
}
