package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/peers"
	"github.com/keyturn/keyturn/rotator/schedule"
)

// TestThreeDaemonsShareTheWork: three daemons on the same configuration rotate
// short-lived keys by plan; each does about a third, and next to no claim is
// tried in vain.
func TestThreeDaemonsShareTheWork(t *testing.T) {
	t.Parallel()
	const credentials, generations = 40, 4
	policy := short(40*time.Second, time.Second)
	policy.RotateBefore = credential.Duration(32 * time.Second) // due each five to eight seconds, with windows of four
	w := newTown(t, ", concurrency: 32", "")
	var daemons []*resident
	for range 3 {
		daemons = append(daemons, w.daemon(t))
	}
	for _, d := range daemons {
		eventually(t, "all know each other", func() bool { return d.fleet.Load().Size() == 3 })
	}
	var group sync.WaitGroup
	for i := range credentials {
		group.Go(func() {
			w.apply(t, credential.Name(fmt.Sprintf("team/app-%d", i)), "portal", short(15*time.Second, time.Second))
		})
	}
	group.Wait()
	eventually(t, "every credential has rotated", func() bool {
		for _, s := range w.states(t, daemons[0].record) {
			if s.Generation < generations || s.Rotation != nil {
				return false
			}
		}
		return true
	})
	var won, lost float64
	for _, d := range daemons {
		mine := counted(t, d.metrics, "keyturn_claims_total", "won")
		vain := counted(t, d.metrics, "keyturn_claims_total", "lost")
		t.Logf("daemon %s won %v claims and lost %v", d.id, mine, vain)
		won, lost = won+mine, lost+vain
		defer func() {
			if mine < won/12 { // who gets what of so few is a matter of their ids
				t.Errorf("daemon %s won %v of %v claims: that is not its part of the work", d.id, mine, won)
			}
		}()
	}
	if want := float64(credentials * (2*generations - 1)); won < want {
		t.Errorf("%v claims were won, want at least %v: did the plan not run?", won, want)
	}
	if share := lost / (won + lost); share >= mostLost {
		t.Errorf("%v of %v claims were lost to another daemon: %.1f %%, want below %.0f %%", lost, won+lost, 100*share, 100*mostLost)
	} else {
		t.Logf("%v of %v claims were lost to another daemon: %.2f %%", lost, won+lost, 100*share)
	}
	for name, s := range w.states(t, daemons[0].record) {
		if s.Notice != credential.LevelNone {
			t.Errorf("%s came near its expiry: %s", name, s.Notice)
		}
	}
}

// TestLimitsAreThoseOfTheInstallation: the lanes of all daemons together hold no
// more than is configured, and the rest get the part of one that ends.
func TestLimitsAreThoseOfTheInstallation(t *testing.T) {
	t.Parallel()
	w := newTown(t, ", concurrency: 8, rate_limit: 300", "")
	daemons := []*resident{w.daemon(t), w.daemon(t), w.daemon(t)}
	w.apply(t, "team/app", "portal", short(time.Hour, time.Second)) // so that there is a lane
	limits := func(live []*resident) (passes int, rate float64) {
		for _, d := range live {
			passes += d.scheduler.Loads()["portal"].Limit
			rate += float64(d.issuers["portal"].limiter.rate.Limit())
		}
		return passes, rate
	}
	for n := 3; n >= 1; n-- {
		live := daemons[:n]
		eventually(t, fmt.Sprintf("%d daemons share what is one installation's", n), func() bool {
			passes, rate := limits(live)
			return passes == 8 && rate > 299.9 && rate < 300.1
		})
		if err := daemons[n-1].end(); err != nil {
			t.Error(err)
		}
	}
}

// TestADeadDaemonsWorkIsPickedUp within its claim's window plus margin: its
// heartbeats end right after it has claimed, or were never there.
func TestADeadDaemonsWorkIsPickedUp(t *testing.T) {
	t.Parallel()
	w := newTown(t, "", "")
	first, second := w.daemon(t), w.daemon(t)
	policy, err := short(45*time.Second, time.Second).Resolve(time.Second, w.calendar, time.Now()) // a window of about 2 s
	if err != nil {
		t.Fatal(err)
	}
	for i, heartbeats := range []bool{false, true, false, true} {
		id := fmt.Sprintf("d-dead%d", i)
		if heartbeats {
			conn, err := nats.Connect(w.nats.ClientURL())
			if err != nil {
				t.Fatal(err)
			}
			service := peers.New(peers.Config{
				Conn: conn, Now: time.Now, Logger: zap.NewNop(),
				Beat: func() peers.Heartbeat {
					return peers.Heartbeat{ID: id, Digest: first.settings.Load().digest, Schema: credential.Schema}
				},
			})
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- service.Run(ctx) }()
			eventually(t, "it is known", func() bool { return first.fleet.Load().Has(id) && second.fleet.Load().Has(id) })
			conn.Close() // killed: it does not say that it leaves
			stop()
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
		}
		name, claim := claimAs(t, first, id, policy)
		began := time.Now()
		eventually(t, "metrics show who holds what", func() bool {
			return counted(t, second.metrics, "keyturn_claims_open", "portal", id, string(claim.Op)) == 1
		})
		if since := counted(t, second.metrics, "keyturn_claim_oldest_timestamp_seconds", "portal", id, string(claim.Op)); time.Since(time.UnixMilli(int64(since*1000))) > time.Minute {
			t.Errorf("the metric says that %s holds it since %v", id, since)
		}
		if i == 0 {
			w.checkHolder(t, name, claim)
		}
		eventually(t, "another daemon has issued the key", func() bool {
			state, _, err := first.record.Load(t.Context(), name)
			return err == nil && state.Generation == 1
		})
		took := time.Since(began)
		eventually(t, "no claim is shown any more", func() bool {
			return counted(t, second.metrics, "keyturn_claims_open", "portal") == 0
		})
		t.Logf("heartbeats %v: picked up and done after %v, the claim is over after %v", heartbeats, took, claim.Over())
		if over := claim.Over(); took < over-100*time.Millisecond || took > over+2*time.Second {
			t.Errorf("heartbeats %v: picked up after %v, want soon after the claim is over (%v)", heartbeats, took, over)
		}
	}
}

// checkHolder: `keyturn list` shows who holds what, since when.
func (w *town) checkHolder(t *testing.T, name credential.Name, claim credential.Claim) {
	t.Helper()
	found := listing(t, []string{config.EnvPath + "=" + w.path})[string(name)]
	if len(found.Claims) != 1 || found.Claims[0].Daemon != claim.Daemon || found.Claims[0].Operation != claim.Op || !found.Claims[0].Since.Equal(claim.Opened) {
		t.Errorf("list says %+v, want %+v", found.Claims, claim)
	}
	table, code := call(t, nil, "list", "--config", w.path)
	if want := claim.Daemon + " " + string(claim.Op) + " since "; code != 0 || !strings.Contains(table, "CLAIMED BY") || !strings.Contains(table, want) {
		t.Errorf("list: exit %d, want %q in:\n%s", code, want, table)
	}
}

// claimAs appends what a daemon does that registers a credential, claims its
// first key and dies. A live one may be faster; then it is another credential.
func claimAs(t *testing.T, by *resident, id string, policy credential.Policy) (credential.Name, credential.Claim) {
	t.Helper()
	for range 100 {
		name := credential.Name("team/app-" + uuid.NewString()[:8])
		var state credential.State
		var head credential.Head
		var err error
		for _, command := range []credential.Command{
			credential.Register{Actor: "test", Spec: credential.Spec{
				Issuer: "portal", Policy: policy, Item: credential.ItemSpec{Title: string(name), Privileges: []string{"premium:user:basemaps"}},
			}},
			credential.Begin{Reason: credential.ReasonFirstKey},
		} {
			event, refused := credential.Decide(state, command, credential.View{Now: time.Now(), Daemon: id, ID: uuid.NewString(), Calendar: by.calendar})
			if refused != nil {
				t.Fatal(refused)
			}
			state = credential.Evolve(state, event)
			state.Name = name
			if head, err = by.record.Append(t.Context(), name, head, event, state); err != nil {
				break
			}
		}
		if err == nil {
			return name, state.Claims[0]
		}
		if !credential.IsClass(err, credential.ClassConflict) {
			t.Fatal(err)
		}
	}
	t.Fatal("a live daemon was first each time")
	return "", credential.Claim{}
}

// TestWhoseTurnItIs, from what the record says.
func TestWhoseTurnItIs(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	const long, short = 30 * 24 * time.Hour, 4 * time.Second
	base := func(lead time.Duration, expires time.Duration) credential.State {
		s := credential.State{Status: credential.StatusRegistered}
		s.Spec.Policy.RotateBefore, s.Spec.Policy.Settle = credential.Duration(lead), credential.Duration(time.Minute)
		if expires > 0 {
			s.Seats = []credential.Seat{{Role: credential.RolePrimary, Expires: now.Add(expires)}}
		}
		return s
	}
	with := func(s credential.State, change func(*credential.State)) credential.State {
		change(&s)
		return s
	}
	claim := credential.Claim{ID: "c", Daemon: "d-holder", Opened: now.Add(-time.Minute)}
	failed := func(ago time.Duration) *credential.Failure {
		return &credential.Failure{Attempts: 3, Last: now.Add(-ago)}
	}
	wait, go_ := credential.Step{Kind: credential.StepWait}, credential.Step{Kind: credential.StepPromote}
	planned := base(long, 40*24*time.Hour)
	for name, c := range map[string]struct {
		state credential.State
		next  credential.Step
		by    string
		want  schedule.Turn
	}{
		"planned":                    {planned, wait, "d-last", schedule.Turn{Delay: 30 * time.Second}},
		"short-lived":                {base(short, 5*time.Second), wait, "", schedule.Turn{Delay: 500 * time.Millisecond}},
		"very short-lived":           {base(time.Second, 2*time.Second), wait, "", schedule.Turn{Delay: 250 * time.Millisecond}},
		"the first key":              {base(long, 0), go_, "", schedule.Turn{Delay: 5 * time.Second}},
		"past the warning":           {base(long, 24*time.Hour), wait, "", schedule.Turn{Delay: 5 * time.Second}},
		"asked for now":              {with(planned, func(s *credential.State) { s.Requested = &credential.Request{Now: true} }), go_, "", schedule.Turn{Delay: 5 * time.Second}},
		"asked for":                  {with(planned, func(s *credential.State) { s.Requested = &credential.Request{} }), go_, "", schedule.Turn{Delay: 30 * time.Second}},
		"a pass goes on":             {planned, go_, "d-last", schedule.Turn{Delay: 30 * time.Second, Holder: "d-last"}},
		"a claim is open":            {with(planned, func(s *credential.State) { s.Claims = []credential.Claim{claim} }), wait, "", schedule.Turn{Delay: 30 * time.Second, Holder: "d-holder"}},
		"failed":                     {with(planned, func(s *credential.State) { s.Failure = failed(0) }), go_, "d-last", schedule.Turn{Delay: 30 * time.Second, Attempts: 3}},
		"failed, and its claim open": {with(planned, func(s *credential.State) { s.Failure = failed(0); s.Claims = []credential.Claim{claim} }), wait, "", schedule.Turn{Delay: 30 * time.Second, Attempts: 3}},
		"failed, and tried again":    {with(planned, func(s *credential.State) { s.Failure = failed(time.Hour); s.Claims = []credential.Claim{claim} }), wait, "", schedule.Turn{Delay: 30 * time.Second, Holder: "d-holder"}},
	} {
		c.want.Patience = time.Minute
		if got := turnOf(c.state, c.next, c.by, now); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// TestHowLongOthersAreWaitedFor: each waits for the ones before it, and all wait
// longer for one that is at it.
func TestHowLongOthersAreWaitedFor(t *testing.T) {
	ids := []string{"d-a", "d-b", "d-c"}
	waits := func(turn schedule.Turn) map[time.Duration]int {
		found := map[time.Duration]int{}
		for _, self := range ids {
			found[leave(peers.NewFleet(self, ids...), "team/app", turn)]++
		}
		return found
	}
	turn := schedule.Turn{Delay: 10 * time.Second, Patience: time.Minute}
	if got := fmt.Sprint(waits(turn)); got != "map[0s:1 10s:1 20s:1]" {
		t.Errorf("planned: %s", got)
	}
	turn.Holder = "d-b"
	if got := fmt.Sprint(waits(turn)); got != "map[0s:1 1m10s:1 1m20s:1]" {
		t.Errorf("at work: %s", got)
	}
	turn.Holder = "d-dead"
	if got := fmt.Sprint(waits(turn)); got != "map[0s:1 10s:1 20s:1]" {
		t.Errorf("its daemon is dead: %s", got)
	}
	for _, holder := range []string{"", "d-b", "d-dead"} {
		turn.Holder = holder
		if got := fmt.Sprint(waits(hurried(turn))); got != "map[0s:1 250ms:1 500ms:1]" {
			t.Errorf("an emergency, with holder %q: %s", holder, got)
		}
	}
}
