package control_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

// stumbling panics at one credential.
type stumbling struct{}

func (stumbling) Command(_ context.Context, name credential.Name, _ credential.Command) (credential.State, error) {
	if name == "a/bad" {
		panic("a secret of nobody's business")
	}
	return credential.State{Revision: 7}, nil
}

func (stumbling) Look(context.Context, credential.Name) (credential.State, error) {
	return credential.State{}, nil
}

// TestAPanicIsAnErrorOfItsRequest: it is logged once with its stack, the one who
// asked gets an answer, and the next request is served.
func TestAPanicIsAnErrorOfItsRequest(t *testing.T) {
	conn, js := natstest.Connect(t, natstest.Start(t).ClientURL())
	must(t, publisher.SetupRequests(t.Context(), js, 1))
	core, logs := observer.New(zapcore.DebugLevel)
	ready := make(chan struct{})
	who := newPerson(t)
	service := control.New(control.Config{
		Conn: conn, Version: "1.2.3", Logger: zap.New(core), Commander: stumbling{}, Outcomes: publisher.NewRequests(js), Installation: "test", Now: time.Now,
		Operators: func() control.Operators {
			return control.Operators{who.Public(): operator("ann", control.RoleAdmin, "*")}
		},
		Changed: func(credential.Name, credential.State) {}, Started: func() { close(ready) },
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx) }()
	<-ready
	client := control.NewClient(conn, who.Identity)
	asking, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := client.Rotate(asking, control.Rotate{Name: "a/bad"})
	if err == nil || !strings.Contains(err.Error(), "try: its log") || strings.Contains(err.Error(), "secret") {
		t.Errorf("the answer is %v", err)
	}
	if answer, err := client.Rotate(asking, control.Rotate{Name: "a/good"}); err != nil || answer.Revision != 7 {
		t.Errorf("the next request: %+v, %v", answer, err)
	}
	if lines := logs.All(); len(lines) != 1 || !strings.Contains(lines[0].ContextMap()["stack"].(string), "panic_test.go") {
		t.Errorf("logged: %v", lines)
	}
	stop()
	must(t, <-ended)
}
