package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
)

// The lanes of faults: two at the same time never share one, so that each can
// be undone on its own.
const (
	laneDaemons = "daemons"
	laneNATS    = "nats"
	laneVault   = "vault"
	lanePortal  = "portal"
	laneNet     = "net"
	laneDeclare = "declarations"
)

// undo ends a fault.
type undo func(context.Context) error

// fault is one way to break something. Each is within the assumptions: see the
// package comment.
type fault struct {
	kind  string
	lanes []string
	// long: it lasts longer than a claim, and nothing else is broken meanwhile.
	long  bool
	begin func(context.Context, *world, *rand.Rand) (undo, error)
}

// catalogue is every fault there is.
func catalogue(disks bool) []fault {
	list := append(daemonFaults(), natsFaults()...)
	list = append(list, vaultFaults()...)
	list = append(list, portalFaults()...)
	list = append(list, netFaults()...)
	list = append(list, changes()...)
	if disks {
		list = append(list, diskFaults()...)
	}
	return list
}

func nothing(context.Context) error { return nil }

// changes are no faults by themselves: somebody declares a tenth of the credentials
// otherwise, in the middle of the others. Other privileges go to new items, another
// description is edited in place.
func changes() []fault {
	change := func(to func(*variant)) func(context.Context, *world, *rand.Rand) (undo, error) {
		return func(ctx context.Context, w *world, random *rand.Rand) (undo, error) {
			for range 1 + len(w.names)/10 {
				to(w.variants[w.names[random.IntN(len(w.names))]])
			}
			return nothing, w.apply(ctx, w.life)
		}
	}
	lanes := []string{laneDeclare}
	return []fault{
		{kind: "declared: other privileges", lanes: lanes, begin: change(func(v *variant) { v.places = !v.places })},
		{kind: "declared: another description", lanes: lanes, begin: change(func(v *variant) { v.words++ })},
	}
}

func daemonFaults() []fault {
	lanes := []string{laneDaemons}
	ended := func(signal string, all bool) func(context.Context, *world, *rand.Rand) (undo, error) {
		return func(_ context.Context, w *world, random *rand.Rand) (undo, error) {
			victims := w.daemons
			if !all {
				i := random.IntN(len(w.daemons))
				victims = w.daemons[i : i+1]
			}
			var failed error
			for _, d := range victims {
				failed = errors.Join(failed, d.stop(signal))
			}
			return func(context.Context) error {
				var failed error
				for _, d := range victims {
					failed = errors.Join(failed, d.start())
				}
				return failed
			}, failed
		}
	}
	return []fault{
		{kind: "daemon: SIGKILL", lanes: lanes, begin: ended("kill", false)},
		{kind: "daemon: SIGTERM", lanes: lanes, begin: ended("term", false)},
		{kind: "daemon: SIGKILL of all three", lanes: lanes, begin: ended("kill", true)},
		{kind: "daemon: SIGSTOP, SIGCONT", lanes: lanes, begin: func(_ context.Context, w *world, random *rand.Rand) (undo, error) {
			d := w.daemons[random.IntN(len(w.daemons))]
			d.signal("stop")
			return func(context.Context) error { d.signal("cont"); return nil }, nil
		}},
		{kind: "daemon: SIGSTOP beyond its claims", lanes: []string{laneDaemons, laneNet}, long: true, begin: pausedLong},
	}
}

// pausedLong pauses a daemon for longer than its claims last. What it had begun
// to send to the portal is lost: else a call could take effect after its claim.
func pausedLong(_ context.Context, w *world, random *rand.Rand) (undo, error) {
	d := w.daemons[random.IntN(len(w.daemons))]
	d.signal("stop")
	d.portal.set(linkCut)
	return func(ctx context.Context) error {
		d.signal("cont")
		// what it was about to send when it was paused still meets the cut
		err := pause(ctx, 300*time.Millisecond)
		d.portal.set(linkOpen)
		return err
	}, nil
}

func natsFaults() []fault {
	lanes := []string{laneNATS}
	killed := func(pick func(context.Context, *world, *rand.Rand) []*node) func(context.Context, *world, *rand.Rand) (undo, error) {
		return func(ctx context.Context, w *world, random *rand.Rand) (undo, error) {
			victims := pick(ctx, w, random)
			var failed error
			for _, n := range victims {
				failed = errors.Join(failed, n.process.kill())
			}
			return func(ctx context.Context) error { return w.restart(ctx, victims) }, failed
		}
	}
	some := func(n int) func(context.Context, *world, *rand.Rand) []*node {
		return func(_ context.Context, w *world, random *rand.Rand) (victims []*node) {
			for _, i := range random.Perm(nodes)[:n] {
				victims = append(victims, w.cluster.nodes[i])
			}
			return victims
		}
	}
	return []fault{
		{kind: "nats: one node killed", lanes: lanes, begin: killed(some(1))},
		{kind: "nats: leader killed", lanes: lanes, begin: killed(func(ctx context.Context, w *world, random *rand.Rand) []*node {
			return []*node{w.cluster.leader(ctx, random)}
		})},
		{kind: "nats: two nodes killed", lanes: lanes, begin: killed(some(2))},
		{kind: "nats: all nodes killed", lanes: lanes, begin: killed(some(nodes))},
		{kind: "nats: one node stopped", lanes: lanes, begin: func(ctx context.Context, w *world, random *rand.Rand) (undo, error) {
			n := w.cluster.leader(ctx, random)
			n.process.signal("stop")
			return func(context.Context) error { n.process.signal("cont"); return nil }, nil
		}},
		{kind: "nats: leader steps down", lanes: lanes, begin: func(ctx context.Context, w *world, _ *rand.Rand) (undo, error) {
			return nothing, w.cluster.stepDown(ctx)
		}},
	}
}

// restart starts nodes again, with patience for a port that is still in use.
func (w *world) restart(ctx context.Context, victims []*node) error {
	var failed error
	for _, n := range victims {
		failed = errors.Join(failed, until(ctx, startTime, n.name+" is started again", func(context.Context) error {
			if err := n.start(); err != nil {
				return err
			}
			_, err := n.process.line(startTime)
			return err
		}))
	}
	return failed
}

func vaultFaults() []fault {
	lanes := []string{laneVault}
	return []fault{
		{kind: "vault: killed", lanes: lanes, begin: func(_ context.Context, w *world, _ *rand.Rand) (undo, error) {
			return w.restartVault, w.vault.process.kill()
		}},
		{kind: "vault: stopped", lanes: lanes, begin: func(_ context.Context, w *world, _ *rand.Rand) (undo, error) {
			w.vault.process.signal("stop")
			return func(context.Context) error { w.vault.process.signal("cont"); return nil }, nil
		}},
		{kind: "vault: sealed", lanes: lanes, begin: func(ctx context.Context, w *world, _ *rand.Rand) (undo, error) {
			return w.vault.unseal, w.vault.seal(ctx)
		}},
		{kind: "vault: daemons' policy emptied", lanes: lanes, begin: func(ctx context.Context, w *world, _ *rand.Rand) (undo, error) {
			none := `path "auth/token/lookup-self" { capabilities = ["read"] }`
			return func(ctx context.Context) error { return w.vault.policy(ctx, daemonPolicy, w.vault.rules) }, w.vault.policy(ctx, daemonPolicy, none)
		}},
		{kind: "vault: daemons' tokens revoked", lanes: lanes, begin: func(ctx context.Context, w *world, _ *rand.Rand) (undo, error) {
			return nothing, w.vault.revokeLogins(ctx)
		}},
	}
}

func (w *world) restartVault(ctx context.Context) error {
	return until(ctx, startTime, "Vault is started again", func(context.Context) error {
		if err := w.vault.start(); err != nil {
			return err
		}
		_, err := w.vault.process.line(startTime)
		return err
	})
}

func portalFaults() []fault {
	lanes := []string{lanePortal}
	// applications use the resource, which lies elsewhere: their calls are left
	// alone, so that each of them has an answer
	const rest = "/sharing/rest"
	spoiled := func(kind string, faults emulator.Faults) fault {
		return fault{kind: kind, lanes: lanes, begin: func(ctx context.Context, w *world, _ *rand.Rand) (undo, error) {
			return func(ctx context.Context) error { return w.portal.setFaults(ctx, emulator.Faults{}) }, w.portal.setFaults(ctx, faults)
		}}
	}
	rules := func(kind string, rules ...emulator.Rule) fault {
		for i := range rules {
			rules[i].Path = rest
		}
		return spoiled(kind, emulator.Faults{Rules: rules})
	}
	return []fault{
		rules("portal: silent", emulator.Rule{Kind: emulator.FaultSilence}),
		rules("portal: silent after it acted", emulator.Rule{Kind: emulator.FaultSilence, Act: true, Rate: 0.5}),
		rules("portal: slow", emulator.Rule{Kind: emulator.FaultDelay, Delay: 400 * time.Millisecond}),
		rules("portal: throttled", emulator.Rule{Kind: emulator.FaultThrottle, Rate: 0.8}),
		rules("portal: garbage", emulator.Rule{Kind: emulator.FaultGarbage, Act: true, Rate: 0.5}, emulator.Rule{Kind: emulator.FaultHTML, Rate: 0.5}),
		rules("portal: half or no answers", emulator.Rule{Kind: emulator.FaultHalf, Rate: 0.4}, emulator.Rule{Kind: emulator.FaultEmpty, Act: true, Rate: 0.4}),
		rules("portal: answers lost", emulator.Rule{Kind: emulator.FaultDrop, Act: true, Rate: 0.6}),
		rules("portal: errors", emulator.Rule{Kind: emulator.FaultError, Rate: 0.5}, emulator.Rule{Kind: emulator.FaultError, Act: true, Rate: 0.3}),
		{kind: "portal: sessions ended", lanes: lanes, begin: func(ctx context.Context, w *world, _ *rand.Rand) (undo, error) {
			return nothing, w.portal.endSessions(ctx)
		}},
		{kind: "portal: stopped", lanes: lanes, begin: func(_ context.Context, w *world, _ *rand.Rand) (undo, error) {
			w.portal.process.signal("stop")
			return func(context.Context) error { w.portal.process.signal("cont"); return nil }, nil
		}},
	}
}

func netFaults() []fault {
	var list []fault
	for name, m := range map[string]mode{"cut": linkCut, "stalled": linkStall, "half-open": linkHalf, "answers lost": linkMute} {
		for target, pick := range map[string]func(*daemon) []*link{
			"nats":   func(d *daemon) []*link { return d.nats },
			"vault":  func(d *daemon) []*link { return []*link{d.vault} },
			"portal": func(d *daemon) []*link { return []*link{d.portal} },
		} {
			list = append(list, linkFault(fmt.Sprintf("net: one daemon and %s %s", target, name), m, false, pick))
		}
	}
	return append(list,
		linkFault("net: one daemon cut off from all", linkCut, false, (*daemon).links),
		linkFault("net: nobody reaches nats", linkCut, true, func(d *daemon) []*link { return d.nats }),
		linkFault("net: nobody reaches the portal", linkHalf, true, func(d *daemon) []*link { return []*link{d.portal} }),
	)
}

func linkFault(kind string, m mode, all bool, pick func(*daemon) []*link) fault {
	return fault{kind: kind, lanes: []string{laneNet}, begin: func(_ context.Context, w *world, random *rand.Rand) (undo, error) {
		victims := w.daemons
		if !all {
			i := random.IntN(len(w.daemons))
			victims = w.daemons[i : i+1]
		}
		set := func(m mode) {
			for _, d := range victims {
				for _, l := range pick(d) {
					l.set(m)
				}
			}
		}
		set(m)
		return func(context.Context) error { set(linkOpen); return nil }, nil
	}}
}

func diskFaults() []fault {
	return []fault{
		{kind: "disk full: a NATS node", lanes: []string{laneNATS}, begin: func(_ context.Context, w *world, random *rand.Rand) (undo, error) {
			n := w.cluster.nodes[random.IntN(nodes)]
			return func(ctx context.Context) error {
				if err := n.disk.empty(); err != nil {
					return err
				}
				// a server that met a full disk serves no streams until it is
				// started again
				if err := n.process.kill(); err != nil {
					return err
				}
				return w.restart(ctx, []*node{n})
			}, n.disk.fill()
		}},
		{kind: "disk full: Vault", lanes: []string{laneVault}, begin: func(_ context.Context, w *world, _ *rand.Rand) (undo, error) {
			return func(context.Context) error { return w.vault.disk.empty() }, w.vault.disk.fill()
		}},
		{kind: "disk full: portal", lanes: []string{lanePortal}, begin: func(_ context.Context, w *world, _ *rand.Rand) (undo, error) {
			return func(context.Context) error { return w.portal.disk.empty() }, w.portal.disk.fill()
		}},
	}
}
