package publisher

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/rotator/credential"
)

func TestSetupIsIdempotentAndSound(t *testing.T) {
	onEachSite(t, func(t *testing.T, s *site) {
		stream, err := s.js.Stream(t.Context(), StreamName)
		if err != nil {
			t.Fatal(err)
		}
		replicas := stream.CachedInfo().Config.Replicas
		if err := Setup(t.Context(), s.js, replicas); err != nil {
			t.Errorf("a second Setup: %v", err)
		}
		problems, err := Check(t.Context(), s.js)
		if err != nil || len(problems) > 0 {
			t.Errorf("Check of what Setup made: %v, %v", problems, err)
		}
		if err := stream.Purge(t.Context()); err == nil {
			t.Error("the stream could be purged")
		}
	})
}

func TestSetupWantsItsReplicas(t *testing.T) {
	cluster := natstest.StartCluster(t, 3)
	s := newClusterSite(t, cluster, 1)
	err := Setup(t.Context(), s.js, 3)
	if err == nil || !strings.Contains(err.Error(), "1 replica(s), 3 were asked for") {
		t.Errorf("Setup says %v, want the number of replicas", err)
	}
}

func TestCheckNamesWhatIsMissing(t *testing.T) {
	_, js := natstest.Connect(t, natstest.Start(t).ClientURL())
	wantProblem(t, js, "missing", "keyturn setup")
	if _, err := Open(t.Context(), Config{JetStream: js}); !credential.IsClass(err, credential.ClassPermanent) || !strings.Contains(err.Error(), "keyturn setup") {
		t.Errorf("Open without a stream says %v", err)
	}

	_, js = natstest.Connect(t, natstest.Start(t, func(o *server.Options) { o.JetStream = false }).ClientURL())
	wantProblem(t, js, "not enabled", "-js")
}

// wantProblem wants exactly one problem.
func wantProblem(t *testing.T, js jetstream.JetStream, what, hint string) {
	t.Helper()
	problems, err := Check(t.Context(), js)
	if err != nil {
		t.Fatalf("Check: %v", err)
	}
	if len(problems) != 1 || !strings.Contains(problems[0].What, what) || !strings.Contains(problems[0].Hint, hint) {
		t.Errorf("Check says %q, want one problem with %q and a hint with %q", problems, what, hint)
	}
}

// TestCheckNamesEachWeakness makes real streams, each weaker in one respect.
func TestCheckNamesEachWeakness(t *testing.T) {
	_, js := natstest.Connect(t, natstest.Start(t).ClientURL())
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORIGIN", Subjects: []string{"origin"}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want   string
		change func(*jetstream.StreamConfig)
	}{
		{"storage is", func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }},
		{"retention is", func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }},
		{"persist mode", func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode }},
		{"acknowledgements", func(c *jetstream.StreamConfig) { c.NoAck = true }},
		{"other streams", func(c *jetstream.StreamConfig) { c.Sources = []*jetstream.StreamSource{{Name: "ORIGIN"}} }},
		{"mirror", func(c *jetstream.StreamConfig) {
			c.Mirror, c.Subjects = &jetstream.StreamSource{Name: "ORIGIN"}, nil
		}},
		{"changes subjects", func(c *jetstream.StreamConfig) {
			c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: recordFilter, Destination: "other.>"}
		}},
		{"its subjects are", func(c *jetstream.StreamConfig) { c.Subjects = []string{"keyturn.record.team.*"} }},
		{"dropped after", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }},
		{"at most 5 messages", func(c *jetstream.StreamConfig) { c.MaxMsgs = 5 }},
		{"at most 4096 bytes", func(c *jetstream.StreamConfig) { c.MaxBytes = 4096 }},
		{"5 messages per credential", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 5 }},
		{"limited to 4096 bytes", func(c *jetstream.StreamConfig) { c.MaxMsgSize = 4096 }},
		{"at most 3 readers", func(c *jetstream.StreamConfig) { c.MaxConsumers = 3 }},
		{"may be deleted", func(c *jetstream.StreamConfig) { c.DenyDelete = false }},
		{"may be purged", func(c *jetstream.StreamConfig) { c.DenyPurge = false }},
		{"roll-ups", func(c *jetstream.StreamConfig) { c.AllowRollup, c.DenyPurge = true, false }},
		{"time to live", func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true }},
		{"scheduled messages", func(c *jetstream.StreamConfig) { c.AllowMsgSchedules, c.Discard = true, jetstream.DiscardOld }},
		{"counters", func(c *jetstream.StreamConfig) { c.AllowMsgCounter, c.Discard = true, jetstream.DiscardOld }},
		{"direct reads are on", func(c *jetstream.StreamConfig) { c.AllowDirect = true }},
		{"drop old messages", func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }},
		{"not republished", func(c *jetstream.StreamConfig) { c.RePublish = nil }},
		{"not republished", func(c *jetstream.StreamConfig) { c.RePublish.Destination = "elsewhere.>" }},
		{"not republished", func(c *jetstream.StreamConfig) { c.RePublish.HeadersOnly = true }},
	} {
		t.Run(c.want, func(t *testing.T) {
			cfg := StreamConfig(1)
			c.change(&cfg)
			if _, err := js.CreateStream(t.Context(), cfg); err != nil {
				t.Fatalf("create the weak stream: %v", err)
			}
			defer func() {
				if err := js.DeleteStream(t.Context(), StreamName); err != nil {
					t.Fatal(err)
				}
			}()
			problems, err := Check(t.Context(), js)
			if err != nil {
				t.Fatalf("Check: %v", err)
			}
			named := false
			for _, p := range problems {
				named = named || strings.Contains(p.What, c.want)
				if p.Hint == "" {
					t.Errorf("%q has no hint", p.What)
				}
			}
			if !named {
				t.Errorf("Check says %q, want %q", problems, c.want)
			}
			for what, err := range map[string]error{
				"Setup": Setup(t.Context(), js, 1),
				"Open":  openError(t, js),
			} {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s says %v, want %q", what, err, c.want)
				}
			}
		})
	}
}

func openError(t *testing.T, js jetstream.JetStream) error {
	t.Helper()
	_, err := Open(t.Context(), Config{JetStream: js})
	return err
}

func TestCheckNamesASealedAndATrimmedStream(t *testing.T) {
	s := oneNode(t)
	r := s.open(t)
	mustAppend(t, r, mapKey, credential.Head{}, 1)
	cfg := StreamConfig(1)
	cfg.MaxMsgs, cfg.Discard = 1, jetstream.DiscardOld
	if _, err := s.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	cfg.MaxMsgs, cfg.Discard = -1, jetstream.DiscardNew
	cfg.Sealed = true
	if _, err := s.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	problems, err := Check(t.Context(), s.js)
	if err != nil {
		t.Fatal(err)
	}
	all := ""
	for _, p := range problems {
		all += p.String() + "\n"
	}
	for _, want := range []string{"sealed", "its first 1 messages are gone"} {
		if !strings.Contains(all, want) {
			t.Errorf("Check says\n%swant %q", all, want)
		}
	}
}

func TestOldServers(t *testing.T) {
	for version, want := range map[string]string{
		"2.10.0":      "",
		"2.15.2":      "",
		"2.12.0-RC.1": "",
		"3.0.0":       "",
		"v2.11.1":     "",
		"2.9.25":      "is version 2.9.25, keyturn needs 2.10 or newer",
		"1.4.1":       "is version 1.4.1, keyturn needs 2.10 or newer",
		"":            "cannot be read",
		"two.ten.one": "cannot be read",
	} {
		got := versionProblem(version)
		if want == "" && got != (Problem{}) || !strings.Contains(got.What, want) {
			t.Errorf("version %q: %q, want %q", version, got, want)
		}
	}
}

func TestOpenRefusesABadConfig(t *testing.T) {
	s := oneNode(t)
	for what, cfg := range map[string]Config{
		"no JetStream":              {Signer: newSigner(t), Installation: "x"},
		"no installation":           {JetStream: s.js, Signer: newSigner(t)},
		"an installation with a /":  {JetStream: s.js, Signer: newSigner(t), Installation: "a/b"},
		"an installation with a \n": {JetStream: s.js, Signer: newSigner(t), Installation: "a\nb"},
	} {
		if _, err := Open(t.Context(), cfg); !credential.IsClass(err, credential.ClassPermanent) {
			t.Errorf("%s: Open says %v, want a permanent fault", what, err)
		}
	}
}

func TestWithoutAConnectionNothingIsSaidOfTheServer(t *testing.T) {
	s := oneNode(t)
	s.nc.Close()
	_, errCheck := Check(t.Context(), s.js)
	for what, err := range map[string]error{"Check": errCheck, "Setup": Setup(t.Context(), s.js, 1), "Open": openError(t, s.js)} {
		if !credential.IsClass(err, credential.ClassRetryable) {
			t.Errorf("%s says %v, want a retryable fault", what, err)
		}
	}
}
