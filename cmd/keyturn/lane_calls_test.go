package main

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/keyturn/keyturn/rotator/arcgis"
	"github.com/keyturn/keyturn/rotator/engine"
)

// TestEveryCallStandsBehindTheBreaker: whatever a portal can be asked, an open
// breaker keeps it back; a method of the embedded Portal that nobody has put behind it
// is found here.
func TestEveryCallStandsBehindTheBreaker(t *testing.T) {
	t.Parallel()
	exceptions := []string{
		"Whoami", // is the question whether the issuer is back
		"Check",  // asks it for doctor; no daemon does
		"Run",    // the lane's own, which asks that question
	}
	g := openGate(t, 0)
	g.set(true)
	for range tripAfter {
		_, _ = g.lane.Describe(t.Context(), "item")
	}
	g.set(true) // forget what came
	calls := callsOf(reflect.TypeFor[*lane]())
	for _, name := range callsOf(reflect.TypeFor[*arcgis.Portal]()) {
		if !slices.Contains(calls, name) {
			t.Errorf("%s of a portal is not to be called on a lane", name)
		}
	}
	lane := reflect.ValueOf(g.lane)
	for _, name := range calls {
		if slices.Contains(exceptions, name) {
			continue
		}
		call := lane.MethodByName(name)
		arguments := []reflect.Value{reflect.ValueOf(t.Context())}
		for i := 1; i < call.Type().NumIn(); i++ {
			argument := reflect.New(call.Type().In(i)).Elem()
			if argument.Kind() == reflect.Slice { // of nothing, nothing is asked
				argument.Set(reflect.MakeSlice(argument.Type(), 1, 1))
			}
			arguments = append(arguments, argument)
		}
		results := call.Call(arguments)
		if err, _ := results[len(results)-1].Interface().(error); !errors.Is(err, errAway) {
			t.Errorf("%s goes past an open breaker, and ends with %v", name, err)
		}
	}
	if paths, _ := g.seen(); len(paths) != 0 {
		t.Errorf("calls that came through: %v", paths)
	}
	for _, name := range exceptions {
		if !slices.Contains(calls, name) {
			t.Errorf("%s is an exception and is not there", name)
		}
	}
}

// callsOf are the methods that take a context.
func callsOf(of reflect.Type) (names []string) {
	for i := range of.NumMethod() {
		method := of.Method(i)
		if method.Type.NumIn() > 1 && method.Type.In(1) == reflect.TypeFor[context.Context]() {
			names = append(names, method.Name)
		}
	}
	return names
}

// What the engine asks of an issuer beyond the least that it needs.
var (
	_ engine.Keeper  = (*lane)(nil)
	_ engine.Looker  = (*lane)(nil)
	_ engine.Clocked = (*lane)(nil)
)
