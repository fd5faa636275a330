package main

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keyturn/keyturn/rotator/credential"
)

// TestEmergenciesAreCountedUntilTheyAreOver, for an alert.
func TestEmergenciesAreCountedUntilTheyAreOver(t *testing.T) {
	e := &alarms{now: map[credential.Name]string{}}
	registry := prometheus.NewRegistry()
	registry.MustRegister(e)
	leaked := credential.State{Spec: credential.Spec{Issuer: "portal"}, Seats: []credential.Seat{{Leak: &credential.Leak{}}}}
	killed := credential.State{Spec: credential.Spec{Issuer: "portal"}, Killed: credential.SeatID{Item: "i", Slot: 1}}
	for _, step := range []struct {
		name  credential.Name
		state credential.State
		want  float64
	}{{"maps/a", leaked, 1}, {"maps/b", killed, 2}, {"maps/a", credential.State{}, 1}} {
		e.note(step.name, step.state)
		families, err := registry.Gather()
		if err != nil || len(families) != 1 || families[0].GetName() != "keyturn_emergencies" {
			t.Fatalf("%v, %v", families, err)
		}
		if have := families[0].GetMetric()[0].GetGauge().GetValue(); have != step.want {
			t.Errorf("after %s: %v, want %v", step.name, have, step.want)
		}
	}
}
