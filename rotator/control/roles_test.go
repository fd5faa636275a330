package control_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/rotator/control"
)

// TestWhoMayDoWhat: each role at each endpoint, in its namespaces and outside.
func TestWhoMayDoWhat(t *testing.T) {
	const viewer, rotator, responder, admin, consumer = control.RoleViewer, control.RoleRotator, control.RoleResponder, control.RoleAdmin, control.RoleConsumer
	named := `{"name":"%s/none"}`
	spec := `{"name":"%s/none","spec":{"issuer":"nobody"},"dry_run":%v}`
	table := []struct {
		endpoint, arguments string
		allowed             []control.Role
		everywhere          bool // needs all namespaces
	}{
		{"whoami", `{}`, []control.Role{viewer, rotator, responder, admin, consumer}, false},
		{"limits", `{}`, []control.Role{viewer, rotator, responder, admin}, false},
		{"apply", strings.Replace(spec, "%v", "true", 1), []control.Role{viewer, rotator, responder, admin}, false},
		{"rotate", named, []control.Role{rotator, responder, admin}, false},
		{"retry", named, []control.Role{rotator, responder, admin}, false},
		{"hold", named, []control.Role{rotator, responder, admin}, false},
		{"hold", `{"name":"%s/none","freeze":true}`, []control.Role{responder, admin}, true},
		{"release", named, []control.Role{responder, admin}, false},
		{"release", `{"name":"%s/none","freeze":true}`, []control.Role{responder, admin}, true},
		{"invalidate", named, []control.Role{responder, admin}, false},
		{"import", named, []control.Role{responder, admin}, false},
		{"freeze", `{"reason":""}`, []control.Role{responder, admin}, true},
		{"thaw", `{}`, []control.Role{responder, admin}, true},
		{"apply", strings.Replace(spec, "%v", "false", 1), []control.Role{admin}, false},
		{"adopt", `{"name":"%s/none"}`, []control.Role{admin}, false},
		{"remove", named, []control.Role{admin}, false},
		{"ack", named, []control.Role{consumer, admin}, false},
	}
	s, ann := newSite(t)
	d := s.open(t, ann)
	who := newPerson(t)
	seen := map[string]bool{}
	for _, role := range []control.Role{viewer, rotator, responder, admin, consumer, "other"} {
		for _, grant := range []struct {
			patterns []string
			covers   map[string]bool // namespace → it is covered
			all      bool
		}{
			{[]string{"maps"}, map[string]bool{"maps": true, "maps-eu": false, "apps": false}, false},
			{[]string{"apps", "maps*"}, map[string]bool{"maps": true, "maps-eu": true, "apps": true, "app": false, "xmaps": false}, false},
			{[]string{"*"}, map[string]bool{"maps": true, "apps": true}, true},
			{nil, map[string]bool{"maps": false}, false},
		} {
			s.keys[who.Public()] = operator("bob", role, grant.patterns...)
			for _, row := range table {
				seen[row.endpoint] = true
				for namespace, covered := range grant.covers {
					arguments := strings.ReplaceAll(row.arguments, "%s", namespace)
					has := false
					for _, r := range row.allowed {
						has = has || r == role
					}
					ofNone := row.endpoint == "whoami" || row.endpoint == "limits"
					want := has && (covered || ofNone)
					switch {
					case row.everywhere:
						want = has && grant.all
					case row.endpoint == "whoami":
						want = true
					case ofNone && grant.patterns == nil:
						want = has
					}
					_, code, text := d.send(t, who.message(t, control.SubjectPrefix+"."+row.endpoint, body("r", time.Now(), arguments)))
					if (code != control.CodeDenied) != want {
						t.Errorf("%s in %v, %s %s: %q %s; want it allowed: %v", role, grant.patterns, row.endpoint, arguments, code, text, want)
					}
					if code == control.CodeDenied && !strings.Contains(text, "operator bob lacks the role ") {
						t.Errorf("the text is %q", text)
					}
				}
			}
		}
	}
	delete(s.keys, who.Public())
	if _, code, _ := d.send(t, who.message(t, control.SubjectWhoami, body("r", time.Now(), `{}`))); code != control.CodeDenied {
		t.Error("whoami answers somebody whose key is gone")
	}
	reply, err := d.conn.RequestWithContext(t.Context(), "$SRV.INFO.keyturn", nil)
	must(t, err)
	var info micro.Info
	must(t, json.Unmarshal(reply.Data, &info))
	for _, e := range info.Endpoints {
		if !seen[e.Name] && e.Subject != control.SubjectConsumer+"*" { // NATS says who may publish there
			t.Errorf("endpoint %s is not in the table", e.Name)
		}
	}
}

// TestAHoldIsNoRelease: whoever may not release may prolong a hold, and not put a
// short one in its place.
func TestAHoldIsNoRelease(t *testing.T) {
	s, ann := newSite(t)
	d := s.open(t, ann)
	d.declared("maps/web")
	bob := newPerson(t)
	s.keys[bob.Public()] = operator("bob", control.RoleRotator, "maps")
	rotator := control.NewClient(s.conn, bob.Identity)
	soon, late := time.Now().Add(time.Minute), time.Now().Add(time.Hour)
	for _, step := range []struct {
		client *control.Client
		until  time.Time
		want   time.Time // until when it is held then; zero = without end
		fails  bool
	}{
		{rotator, soon, soon, false},
		{rotator, late, late, false},
		{rotator, soon, late, true},
		{rotator, time.Time{}, time.Time{}, false},
		{rotator, late, time.Time{}, true},
		{d.client, late, late, false}, // who may release may shorten
	} {
		_, err := step.client.Hold(t.Context(), control.Hold{Name: "maps/web", Reason: "audit", Until: step.until})
		if (err != nil) != step.fails || (err != nil && !strings.Contains(err.Error(), "a hold stands for longer than that: by bob: audit; to end it sooner needs the role responder")) {
			t.Errorf("until %v: %v; want it refused: %v", step.until, err, step.fails)
		}
		if hold := d.state("maps/web").Hold; hold == nil || !hold.Until.Equal(step.want) {
			t.Errorf("it is held as %+v, want until %v", hold, step.want)
		}
	}
}

// TestADeniedRoleIsKept with the operator's name, which the signature proves.
func TestADeniedRoleIsKept(t *testing.T) {
	s, ann := newSite(t)
	d := s.open(t, ann)
	bob := newPerson(t)
	s.keys[bob.Public()] = operator("bob", control.RoleRotator, "maps")
	client := control.NewClient(s.conn, bob.Identity)
	_, err := client.Release(t.Context(), control.Release{Name: "maps/web"})
	if err == nil || !strings.Contains(err.Error(), "release: operator bob lacks the role responder in namespace maps") {
		t.Errorf("got %v", err)
	}
	natstest.Eventually(t, "it is kept", func() bool { return len(s.denials(t)) == 1 })
	got := s.denials(t)[0]
	if got.Reason != control.ReasonRole || got.Operator != "bob" || got.Key != bob.Public() || got.Credential != "maps/web" || got.Endpoint != "release" {
		t.Errorf("kept %+v", got)
	}
	if self, err := client.Whoami(t.Context()); err != nil || fmt.Sprint(self) != "{bob [{rotator [maps]}]}" {
		t.Errorf("bob is %+v, %v", self, err)
	}
	natstest.Eventually(t, "it is counted", func() bool { return fmt.Sprint(d.counts()) == "map[role true:1]" })
}
