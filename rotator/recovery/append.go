package recovery

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keyturn/keyturn/rotator/credential"
)

// decide makes the event of a fact for an empty record.
func (r *Recovery) decide(f *credential.Recovered, now time.Time) (credential.Event, error) {
	return credential.DecideRecovery(credential.State{}, *f, r.config.Actor, credential.View{
		Now: now, Daemon: r.config.Daemon, ID: r.config.NewID(), Calendar: r.config.Calendar,
	})
}

// Append appends what the plan says, and returns the plan with what became of
// it. Running it twice, or in two places at once, appends each event once.
func (r *Recovery) Append(ctx context.Context, plan Plan) (Plan, error) {
	var group errgroup.Group
	group.SetLimit(r.config.Workers)
	lines := append([]Line(nil), plan.Lines...)
	for i := range lines {
		if lines[i].Verdict == VerdictRecover {
			group.Go(func() error { r.append(ctx, &lines[i]); return nil })
		}
	}
	_ = group.Wait()
	return Plan{Lines: lines, Unlisted: plan.Unlisted}, ctx.Err()
}

func (r *Recovery) append(ctx context.Context, line *Line) {
	settle := func(verdict Verdict, try, detail string) {
		line.Verdict, line.Try, line.Detail = verdict, try, detail
		if verdict != VerdictRecovered {
			line.Fact = nil
		}
	}
	// A step that a daemon had under way when it lost its stream may end late.
	switch there, err := r.config.Secrets.Read(ctx, line.Name); {
	case err != nil:
		settle(VerdictUnchecked, tryAgain, "Vault cannot be read again: "+err.Error())
		return
	case there.Missing || there.Version != line.Fact.Version:
		settle(VerdictUnchecked, "end what writes it, and run keyturn recover again", "Vault was written while the key was being confirmed")
		return
	}
	event, err := r.decide(line.Fact, r.config.Now())
	if err != nil {
		settle(VerdictConflict, tryAgain, err.Error())
		return
	}
	after := credential.Evolve(credential.State{}, event)
	after.Name = line.Name
	const attempts = 3 // the same event is never stored twice
	for range attempts {
		_, err = r.config.Record.Append(ctx, line.Name, credential.Head{}, event, after)
		if err == nil || !credential.IsClass(err, credential.ClassUnknown) || ctx.Err() != nil {
			break
		}
	}
	switch {
	case err == nil:
		line.Verdict = VerdictRecovered
	case credential.IsClass(err, credential.ClassConflict):
		settle(VerdictOnRecord, "", "somebody else began its record meanwhile: left as it is")
	default:
		settle(VerdictUnchecked, tryAgain, err.Error())
	}
}
