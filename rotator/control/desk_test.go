package control_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
	"github.com/nats-io/nkeys"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/engine"
	"github.com/keyturn/keyturn/rotator/schedule"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// person has an operator's key.
type person struct {
	control.Identity
	pair nkeys.KeyPair
}

func newPerson(t testing.TB) person {
	t.Helper()
	seed, _, err := publisher.GenerateSeed()
	must(t, err)
	identity, err := control.NewIdentity("test", seed)
	must(t, err)
	pair, err := nkeys.FromSeed([]byte(seed.Reveal()))
	must(t, err)
	return person{identity, pair}
}

// message signs a body by hand, apart from the code of the package.
func (p person) message(t testing.TB, subject string, body []byte) *nats.Msg {
	t.Helper()
	signature, err := p.pair.Sign(append([]byte("keyturn-control-1\n"+subject+"\n"), body...))
	must(t, err)
	return &nats.Msg{Subject: subject, Data: body, Header: nats.Header{
		control.HeaderOperator:  {p.Public()},
		control.HeaderSignature: {base64.RawURLEncoding.EncodeToString(signature)},
	}}
}

// site is a record, and the connection that everybody uses.
type site struct {
	server *natstest.Server
	conn   *nats.Conn
	js     jetstream.JetStream
	signer *publisher.Signer
	keys   control.Operators
}

// desk is a control service of a real engine on a real record.
type desk struct {
	*site
	t        testing.TB
	client   *control.Client
	identity person
	record   *publisher.Record
	end      func() error

	mu      sync.Mutex
	changed []credential.Name
	denied  map[string]int // reason, and whether it was kept
}

// newSite is a record on which one person is an administrator.
func newSite(t testing.TB) (*site, person) {
	t.Helper()
	s := &site{server: natstest.Start(t), keys: control.Operators{}}
	s.conn, s.js = natstest.Connect(t, s.server.ClientURL())
	must(t, publisher.Setup(t.Context(), s.js, 1))
	must(t, publisher.SetupDenied(t.Context(), s.js, 1))
	must(t, publisher.SetupRequests(t.Context(), s.js, 1))
	seed, _, err := publisher.GenerateSeed()
	must(t, err)
	s.signer, err = publisher.NewSigner(seed)
	must(t, err)
	must(t, publisher.PublishSigner(t.Context(), s.js, s.signer, "test", nil))
	admin := newPerson(t)
	s.keys[admin.Public()] = operator("ann", control.RoleAdmin, "*")
	return s, admin
}

func operator(name string, role control.Role, namespaces ...string) control.Operator {
	return control.Operator{Name: name, Grants: []control.Grant{{Role: role, Namespaces: namespaces}}}
}

func open(t testing.TB) *desk {
	t.Helper()
	s, admin := newSite(t)
	return s.open(t, admin)
}

// open runs a daemon's service. All of a site are in one queue group; pass
// another connection's site to reach a certain one.
func (s *site) open(t testing.TB, who person, change ...func(*control.Config)) *desk {
	t.Helper()
	record, err := publisher.Open(t.Context(), publisher.Config{JetStream: s.js, Signer: s.signer, Installation: "test"})
	must(t, err)
	calendar := &schedule.Calendar{}
	d := &desk{site: s, t: t, client: control.NewClient(s.conn, who.Identity), identity: who, record: record, denied: map[string]int{}}
	ready := make(chan struct{})
	config := control.Config{
		Conn: s.conn, Version: "1.2.3", Logger: zap.NewNop(), Freezer: record, Outcomes: publisher.NewRequests(s.js), Now: time.Now, Installation: "test", Daemon: "d-test",
		Commander: engine.New(engine.Config{Record: record, Calendar: calendar, Daemon: "d-test", Now: time.Now, Logger: zap.NewNop()}),
		Check: func(spec credential.Spec) (credential.Spec, error) {
			if spec.Issuer != "portal" {
				return spec, fmt.Errorf("no issuer %q", spec.Issuer)
			}
			var err error
			spec.Policy, err = spec.Policy.Resolve(time.Second, calendar, time.Now())
			return spec, err
		},
		Operators: func() control.Operators { return s.keys },
		Keep: func(ctx context.Context, denial control.Denial) error {
			data, err := json.Marshal(denial)
			if err != nil {
				return err
			}
			return publisher.PublishDenied(ctx, s.js, denial.Endpoint, data)
		},
		Denied: func(reason control.Reason, kept bool) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.denied[fmt.Sprintf("%s %v", reason, kept)]++
		},
		Limits: control.Limits{Issuers: map[string]control.IssuerLimits{"portal": {MinLifetime: time.Second}}},
		Changed: func(name credential.Name, _ credential.State) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.changed = append(d.changed, name)
		},
		Started: func() { close(ready) },
	}
	for _, c := range change {
		c(&config)
	}
	service := control.New(config)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx) }()
	d.end = sync.OnceValue(func() error { stop(); return <-ended })
	t.Cleanup(func() {
		if err := d.end(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	<-ready
	return d
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func spec(lifetime time.Duration) credential.Spec {
	return credential.Spec{
		Issuer: "portal", Item: credential.ItemSpec{Title: "T", Privileges: []string{"premium:user:basemaps"}},
		Policy: credential.Policy{Lifetime: credential.Duration(lifetime)},
	}
}

// declared registers a credential.
func (d *desk) declared(name credential.Name) {
	d.t.Helper()
	_, err := d.client.Apply(d.t.Context(), control.Apply{Name: name, Spec: spec(time.Hour)})
	must(d.t, err)
}

func (d *desk) state(name credential.Name) credential.State {
	d.t.Helper()
	state, _, err := d.record.Load(d.t.Context(), name)
	must(d.t, err)
	return state
}

func (d *desk) revision(t *testing.T, name credential.Name) uint64 {
	t.Helper()
	return d.state(name).Revision
}

// body is a request in its envelope.
func body(id string, at time.Time, arguments string) []byte {
	return fmt.Appendf(nil, `{"installation":"test","request":%q,"at":%q,"arguments":%s}`, id, at.UTC().Format(time.RFC3339Nano), arguments)
}

// request is a signed one of now.
func (d *desk) request(id, subject, arguments string) *nats.Msg {
	d.t.Helper()
	return d.identity.message(d.t, subject, body(id, time.Now(), arguments))
}

// send sends a request, and returns the answer or the code and text of the no.
func (d *desk) send(t testing.TB, message *nats.Msg) (answer control.Answer, code, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	reply, err := d.conn.RequestMsgWithContext(ctx, message)
	must(t, err)
	if code := reply.Header.Get(micro.ErrorCodeHeader); code != "" {
		return answer, code, reply.Header.Get(micro.ErrorHeader)
	}
	must(t, json.Unmarshal(reply.Data, &answer))
	return answer, "", ""
}

// ask is send of what must be answered.
func (d *desk) ask(t testing.TB, message *nats.Msg) control.Answer {
	t.Helper()
	answer, code, text := d.send(t, message)
	if code != "" {
		t.Fatalf("%s: refused with %s %s", message.Subject, code, text)
	}
	return answer
}

func (d *desk) counts() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	counts := map[string]int{}
	for k, n := range d.denied {
		counts[k] = n
	}
	return counts
}

// denials are those that were kept.
func (s *site) denials(t testing.TB) (list []control.Denial) {
	t.Helper()
	must(t, publisher.ReadDenied(t.Context(), s.js, time.Time{}, func(data []byte) error {
		var denial control.Denial
		if err := json.Unmarshal(data, &denial); err != nil {
			return err
		}
		list = append(list, denial)
		return nil
	}))
	return list
}
