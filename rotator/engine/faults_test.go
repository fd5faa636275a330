package engine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
)

// trouble is what a portal may do at any time.
func trouble(r *rand.Rand) emulator.Faults {
	rules := []emulator.Rule{
		{Kind: emulator.FaultSilence, Act: r.IntN(2) == 0},
		{Kind: emulator.FaultError, Act: r.IntN(2) == 0},
		{Kind: emulator.FaultError, Status: 502, Act: r.IntN(2) == 0},
		{Kind: emulator.FaultGarbage, Act: true},
		{Kind: emulator.FaultHalf},
		{Kind: emulator.FaultHTML, Act: r.IntN(2) == 0},
		{Kind: emulator.FaultEmpty, Act: true},
		{Kind: emulator.FaultDrop, Act: true},
		{Kind: emulator.FaultDrop},
		{Kind: emulator.FaultThrottle},
	}
	paths := []string{"", "", "/oauth2/token", "/oauth2/revokeToken", "/oauth2/registerApp", "addItem", "/update", "registeredAppInfo", "/portals/self"}
	faults := emulator.Faults{Jitter: 5 * time.Millisecond}
	for range 1 + r.IntN(3) {
		rule := rules[r.IntN(len(rules))]
		rule.Path, rule.Rate = paths[r.IntN(len(paths))], 0.2+0.6*r.Float64()
		faults.Rules = append(faults.Rules, rule)
	}
	return faults
}

// TestAPortalThatMisbehaves disturbs a portal at random during several
// rotations of several credentials, each with two daemons.
func TestAPortalThatMisbehaves(t *testing.T) {
	const credentials, troubled = 6, 15 * time.Second
	w := newWorld(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	must(t, w.portal.SetKnobs(emulator.Knobs{ThrottleRetryAfter: time.Second}))
	impatient := func(c *arcgis.Config) { c.Timeout = 250 * time.Millisecond }

	ctx, cancel := context.WithTimeout(t.Context(), troubled+60*time.Second)
	defer cancel()
	quiet := make(chan struct{})
	mischief := make(chan struct{})
	go func() {
		defer close(mischief)
		defer close(quiet)
		r := rand.New(rand.NewPCG(seed, 1))
		end := time.After(troubled)
		ticker := time.NewTicker(200 * time.Millisecond)
		defer ticker.Stop()
		for {
			if err := w.portal.SetFaults(trouble(r)); err != nil {
				t.Error(err)
			}
			select {
			case <-ticker.C:
				continue
			case <-end:
			case <-ctx.Done():
			}
			if err := w.portal.SetFaults(emulator.Faults{}); err != nil {
				t.Error(err)
			}
			return
		}
	}()
	defer func() { cancel(); <-mischief }()

	var names []credential.Name
	for i := range credentials {
		names = append(names, credential.Name(fmt.Sprintf("faults/c%d", i)))
	}
	side(t, credentials, names, func(n credential.Name) string { return string(n) }, func(t *testing.T, name credential.Name) {
		w.register(t, name, w.policy(t, lifetime, lead, drain))
		app := w.watch(t, name, drain, 10*time.Millisecond)
		engines := []*engine.Engine{
			w.engine(t, w.ports(t, impatient), engine.Hooks{}),
			w.engine(t, w.ports(t, impatient), engine.Hooks{}),
		}
		generation := uint64(0)
		for quietNow := false; !quietNow; {
			select {
			case <-quiet:
				quietNow = true // and one rotation more
			default:
			}
			if generation++; generation > 1 {
				w.rotate(t, name)
			}
			errs := make(chan error, len(engines))
			for _, e := range engines {
				go func() { errs <- drive(ctx, e, name, ended(generation)) }()
			}
			for range engines {
				if err := <-errs; err != nil {
					t.Errorf("%v", err)
				}
			}
			if t.Failed() {
				return
			}
			w.checkEnd(t, name, generation)
		}
		t.Logf("%d rotations", generation)
		app.check(t)
	})
}
