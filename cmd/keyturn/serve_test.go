package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// freePort is a port of 127.0.0.1 that was free a moment ago.
func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port
}

// startNATSAt runs a server until the returned stop is called.
func startNATSAt(t *testing.T, port int, dir string) (stop func()) {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("NATS does not start")
	}
	stop = func() { s.Shutdown(); s.WaitForShutdown() }
	t.Cleanup(stop)
	return stop
}

// startVaultAt runs the dev Vault until the test ends.
func startVaultAt(t *testing.T, port int, dir, token string) {
	t.Helper()
	cmd := exec.Command(devVault(t), "-dir", dir, "-token", token, "-listen", fmt.Sprintf("127.0.0.1:%d", port))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stdin.Close(); _ = cmd.Wait() })
	eventually(t, "the dev Vault serves", func() bool {
		status, _ := get(t, fmt.Sprintf("http://127.0.0.1:%d/v1/sys/health", port))
		return status == 200
	})
}

// place is a configuration for servers that may not be there yet.
type place struct {
	natsPort, vaultPort int
	config              string
	tokenFile           string
}

const rootToken = "test-root-token"

func newPlace(t *testing.T) place {
	t.Helper()
	dir := t.TempDir()
	p := place{natsPort: freePort(t), vaultPort: freePort(t), config: filepath.Join(dir, "keyturn.yaml"), tokenFile: filepath.Join(dir, "token")}
	text := fmt.Sprintf(`installation: test
nats: {url: "nats://127.0.0.1:%d"}
vault: {addr: "http://127.0.0.1:%d", login: {token: {file: %q}}}
issuers:
  portal: {type: arcgis, url: "http://127.0.0.1:9/sharing/rest", username: keeper, password: {env: PORTAL_PASSWORD}}
daemon: {http: "127.0.0.1:0"}
`, p.natsPort, p.vaultPort, p.tokenFile)
	for path, content := range map[string]string{p.config: text, p.tokenFile: rootToken} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func (p place) nats(t *testing.T) func() { return startNATSAt(t, p.natsPort, t.TempDir()) }
func (p place) vault(t *testing.T)       { startVaultAt(t, p.vaultPort, t.TempDir(), rootToken) }

func (p place) setup(t *testing.T) {
	t.Helper()
	// the dev Vault may still be mounting: setup says so, and is run again
	eventually(t, "setup succeeds", func() bool {
		output, code := call(t, nil, "setup", "--config", p.config)
		return code == 0 && strings.Contains(output, "signer U")
	})
}

// TestServeWaitsForVaultAndNATS: what is away is waited for, and /readyz says what.
func TestServeWaitsForVaultAndNATS(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	daemon := start(t, []string{"PORTAL_PASSWORD=x"}, "serve", "--config", p.config)
	health := daemon.httpOf(t)
	eventually(t, "it says that Vault is away", func() bool {
		status, body := get(t, health+"/readyz")
		return status == 503 && strings.Contains(body, "vault: vault") && strings.Contains(body, "connection refused") && strings.Contains(body, "try:")
	})
	if status, _ := get(t, health+"/healthz"); status != 200 {
		t.Errorf("/healthz: %d, want 200: it is alive", status)
	}
	p.vault(t)
	eventually(t, "it says that NATS is away", func() bool {
		status, body := get(t, health+"/readyz")
		return status == 503 && !strings.Contains(body, "vault:") && strings.Contains(body, "nats:")
	})
	// the stream must be there when NATS comes, as it would be in production
	store := t.TempDir()
	stop := startNATSAt(t, p.natsPort, store)
	p.setup(t)
	eventually(t, "it is ready, or says that the stream was missing", func() bool {
		status, _ := get(t, health+"/readyz")
		select {
		case <-daemon.exited:
			return strings.Contains(daemon.output.String(), "keyturn setup")
		default:
			return status == 200
		}
	})
	select {
	case <-daemon.exited: // it was faster than setup: the hint is what counts
		daemon = start(t, []string{"PORTAL_PASSWORD=x"}, "serve", "--config", p.config)
		health = daemon.httpOf(t)
	default:
	}
	ready := func() bool { status, _ := get(t, health+"/readyz"); return status == 200 }
	eventually(t, "it is ready", ready)
	_, metrics := get(t, health+"/metrics")
	for _, name := range []string{"keyturn_credentials", "keyturn_schedule_lag_seconds", "keyturn_call_duration_seconds"} {
		if !strings.Contains(metrics, name) {
			t.Errorf("/metrics lacks %s", name)
		}
	}

	// NATS goes and comes back
	stop()
	eventually(t, "it says that NATS is gone", func() bool { return !ready() })
	startNATSAt(t, p.natsPort, store)
	eventually(t, "it is ready again", ready)

	daemon.signal(syscall.SIGTERM)
	if code := daemon.wait(t, 20*time.Second); code != 0 {
		t.Errorf("exit %d after SIGTERM, want 0", code)
	}
}

// TestServeRefusesWhatWaitingDoesNotMend: each with a hint.
func TestServeRefusesWhatWaitingDoesNotMend(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.vault(t)
	p.nats(t)
	refused := func(what string, words ...string) {
		t.Helper()
		output, code := call(t, []string{"PORTAL_PASSWORD=x"}, "serve", "--config", p.config)
		if code != 1 {
			t.Errorf("%s: exit %d, want 1", what, code)
		}
		for _, word := range words {
			if !strings.Contains(output, word) {
				t.Errorf("%s: the output lacks %q:\n%s", what, word, output)
			}
		}
	}
	eventually(t, "Vault's mount serves", func() bool {
		output, _ := call(t, nil, "doctor", "--config", p.config)
		return strings.Contains(output, "login, mount and capabilities are in order")
	})
	refused("no signing key", "there is no signing key", "keyturn setup")
	p.setup(t)

	conn, err := nats.Connect(fmt.Sprintf("nats://127.0.0.1:%d", p.natsPort))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), "KEYTURN"); err != nil {
		t.Fatal(err)
	}
	refused("no stream", "KEYTURN", "keyturn setup")
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KEYTURN", Subjects: []string{"keyturn.record.>"}, MaxAge: time.Hour}); err != nil {
		t.Fatal(err)
	}
	refused("a weaker stream", "KEYTURN", "--max-age 0")
}

// TestDoctorNamesWhatIsWrong: one line and one hint each.
func TestDoctorNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.vault(t)
	if err := os.WriteFile(p.tokenFile, []byte("wrong-token"), 0o600); err != nil {
		t.Fatal(err)
	}
	output, code := call(t, []string{"PORTAL_PASSWORD=hunter2"}, "doctor", "--config", p.config)
	if code != 1 {
		t.Errorf("exit %d, want 1", code)
	}
	for _, word := range []string{"FAIL vault", "FAIL nats", "FAIL issuer portal"} {
		if !strings.Contains(output, word) {
			t.Errorf("the output lacks %q", word)
		}
	}
	for line := range strings.Lines(output) {
		if strings.HasPrefix(line, "FAIL") && !strings.Contains(line, "(try: ") {
			t.Errorf("no hint: %s", line)
		}
	}
	for _, secret := range []string{"wrong-token", "hunter2", rootToken} {
		if strings.Contains(output, secret) {
			t.Errorf("the output holds the secret %q", secret)
		}
	}
}

// TestTwoDaemonsRotateOnce: a second daemon on the same configuration does no
// step twice, and ends within its bound.
func TestTwoDaemonsRotateOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, env := startDev(t, dir, "--key-lifetime", "20s", "--credentials", "12") // so many that each daemon is first for some
	second := start(t, env, "serve")
	health := second.httpOf(t)
	eventually(t, "the second daemon is ready", func() bool { status, _ := get(t, health+"/readyz"); return status == 200 })
	eventually(t, "both credentials rotated", func() bool {
		l := listing(t, env)
		return l["demo/web"].Generation >= 3 && l["demo/mobile"].Generation >= 3
	})
	var metrics string
	eventually(t, "the second daemon has rotated one", func() bool {
		_, metrics = get(t, health+"/metrics")
		return strings.Contains(metrics, "keyturn_rotations_total{")
	})
	for _, name := range []string{
		"keyturn_rotations_total", "keyturn_step_duration_seconds", "keyturn_next_expiry_seconds", "keyturn_schedule_lag_seconds",
		"keyturn_call_duration_seconds", "keyturn_events_appended_total",
	} {
		if !strings.Contains(metrics, name) {
			t.Errorf("/metrics lacks %s", name)
		}
	}
	for _, secret := range []string{"AAPT", value(env, "VAULT_TOKEN"), value(env, "KEYTURN_PORTAL_PASSWORD")} {
		if strings.Contains(metrics, secret) || strings.Contains(second.output.String(), secret) {
			t.Errorf("metrics or log hold a secret")
		}
	}
	second.signal(syscall.SIGTERM)
	if code := second.wait(t, 20*time.Second); code != 0 {
		t.Errorf("exit %d after SIGTERM, want 0", code)
	}
	output, _ := call(t, env, "history", "demo/web", "-o", "json")
	starts, promotions := strings.Count(output, `"io.keyturn.rotation.started"`), strings.Count(output, `"io.keyturn.key.promoted"`)
	if d := starts - promotions; d < 0 || d > 1 {
		t.Errorf("%d rotations began, %d promoted", starts, promotions)
	}
	if items := portalItems(t, env); items != 12 {
		t.Errorf("%d items at the portal, want 12", items)
	}
}
