package simulation

import (
	"context"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// The ports of one daemon: each call goes through the gate.

type recordPort struct{ daemon *daemon }

type loaded struct {
	state credential.State
	head  credential.Head
}

func (p recordPort) Load(ctx context.Context, name credential.Name) (credential.State, credential.Head, error) {
	l, err := ask(ctx, p.daemon, name, "record", "load", reading, func(stale bool) (loaded, error) {
		ago := 0
		if stale {
			ago = 1
		}
		state, head, err := p.daemon.world.record.loadAt(context.Background(), name, ago)
		return loaded{state, head}, err
	})
	return l.state, l.head, err
}

func (p recordPort) Append(ctx context.Context, name credential.Name, head credential.Head, event credential.Event, after credential.State) (credential.Head, error) {
	what := "append " + short(event.Fact)
	return ask(ctx, p.daemon, name, "record", what, storing, func(bool) (credential.Head, error) {
		before := p.daemon.world.record.State(name)
		next, err := p.daemon.world.record.Append(context.Background(), name, head, event, after)
		if err == nil {
			p.daemon.world.appended(p.daemon, name, before, event, after)
		}
		return next, err
	})
}

func (p recordPort) Verify(ctx context.Context, name credential.Name, head credential.Head) error {
	_, err := ask(ctx, p.daemon, name, "record", "verify", reading, func(bool) (struct{}, error) {
		return struct{}{}, p.daemon.world.record.Verify(context.Background(), name, head)
	})
	return err
}

type storePort struct{ daemon *daemon }

func (p storePort) Read(ctx context.Context, name credential.Name) (credential.Stored, error) {
	return ask(ctx, p.daemon, name, "vault", "read", reading, func(bool) (credential.Stored, error) {
		return p.daemon.world.store.Read(context.Background(), name)
	})
}

func (p storePort) Write(ctx context.Context, name credential.Name, doc credential.Document, cas uint64) (uint64, error) {
	return ask(ctx, p.daemon, name, "vault", "write", storing, func(bool) (uint64, error) {
		version, err := p.daemon.world.store.Write(context.Background(), name, doc, cas)
		if err == nil {
			p.daemon.world.say("  vault %s version %d: primary mint %d on %s, other mint %d, revision %d", name, version, doc.Primary.Mint, doc.Primary.Seat, doc.Secondary.Mint, doc.Revision)
		}
		return version, err
	})
}

func (p storePort) EnsureMetadata(ctx context.Context, name credential.Name, owner string) error {
	_, err := ask(ctx, p.daemon, name, "vault", "metadata", storing, func(bool) (struct{}, error) {
		return struct{}{}, p.daemon.world.store.EnsureMetadata(context.Background(), name, owner)
	})
	return err
}

func (p storePort) Destroy(ctx context.Context, name credential.Name, from, below uint64) error {
	_, err := ask(ctx, p.daemon, name, "vault", "destroy", storing, func(bool) (struct{}, error) {
		return struct{}{}, p.daemon.world.store.Destroy(context.Background(), name, from, below)
	})
	return err
}

func (p storePort) Erase(ctx context.Context, name credential.Name, upto uint64) error {
	_, err := ask(ctx, p.daemon, name, "vault", "erase", storing, func(bool) (struct{}, error) {
		p.daemon.world.say("  vault %s is erased up to version %d", name, upto)
		return struct{}{}, p.daemon.world.store.Erase(context.Background(), name, upto)
	})
	return err
}

// issuerPort measures the portal's clock like the real client: with each answer.
type issuerPort struct{ daemon *daemon }

func (p issuerPort) Skew() (time.Duration, time.Time, bool) {
	p.daemon.world.mu.Lock()
	defer p.daemon.world.mu.Unlock()
	return p.daemon.skew, p.daemon.answered, !p.daemon.answered.IsZero()
}

func (p issuerPort) EnsureItem(ctx context.Context, order credential.ItemOrder) (string, error) {
	return ask(ctx, p.daemon, order.Marker.Name, "issuer portal", "make item", issuing, func(bool) (string, error) {
		return p.daemon.world.portal.EnsureItem(context.Background(), order)
	})
}

func (p issuerPort) Describe(ctx context.Context, item string) (credential.ItemStatus, error) {
	return ask(ctx, p.daemon, p.daemon.world.owner(item), "issuer portal", "describe "+item, reading, func(bool) (credential.ItemStatus, error) {
		return p.daemon.world.portal.Describe(context.Background(), item)
	})
}

func (p issuerPort) Issue(ctx context.Context, seat credential.SeatID, expires time.Time) (credential.Minted, error) {
	w, name := p.daemon.world, p.daemon.world.owner(seat.Item)
	return ask(ctx, p.daemon, name, "issuer portal", "generate "+seat.String(), issuing, func(bool) (credential.Minted, error) {
		w.destroys(p.daemon, name, "generate", seat)
		return w.portal.Issue(context.Background(), seat, expires)
	})
}

func (p issuerPort) Probe(ctx context.Context, request credential.ProbeRequest) (credential.Proof, error) {
	return ask(ctx, p.daemon, p.daemon.world.owner(request.Item), "issuer portal", "probe on "+request.Item, reading, func(bool) (credential.Proof, error) {
		return p.daemon.world.portal.Probe(context.Background(), request)
	})
}

func (p issuerPort) Revoke(ctx context.Context, seat credential.SeatID) error {
	w, name := p.daemon.world, p.daemon.world.owner(seat.Item)
	_, err := ask(ctx, p.daemon, name, "issuer portal", "revoke "+seat.String(), issuing, func(bool) (struct{}, error) {
		w.destroys(p.daemon, name, "revoke", seat)
		return struct{}{}, w.portal.Revoke(context.Background(), seat)
	})
	return err
}

func (p issuerPort) Edit(ctx context.Context, item string, marker credential.Marker, spec credential.ItemSpec) error {
	_, err := ask(ctx, p.daemon, marker.Name, "issuer portal", "edit "+item, issuing, func(bool) (struct{}, error) {
		return struct{}{}, p.daemon.world.portal.Edit(context.Background(), item, marker, spec)
	})
	return err
}

func (p issuerPort) Remove(ctx context.Context, item string, revoke bool) error {
	w, name := p.daemon.world, p.daemon.world.owner(item)
	_, err := ask(ctx, p.daemon, name, "issuer portal", "remove "+item, issuing, func(bool) (struct{}, error) {
		w.deletes(p.daemon, name, item)
		return struct{}{}, w.portal.Remove(context.Background(), item, revoke)
	})
	return err
}

func (p issuerPort) Marked(ctx context.Context, installation string, names []credential.Name) ([]credential.MarkedItem, error) {
	return ask(ctx, p.daemon, names[0], "issuer portal", "list items", reading, func(bool) ([]credential.MarkedItem, error) {
		return p.daemon.world.portal.Marked(context.Background(), installation, names)
	})
}
