package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/keyturn/keyturn/publisher"
	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

// startNATS runs JetStream in this process. What is acknowledged is on disk.
func startNATS(dir, listen string) (url string, stop func(), err error) {
	host, service, err := net.SplitHostPort(listen)
	if err != nil {
		return "", nil, fmt.Errorf("start NATS: %w", err)
	}
	port, err := strconv.Atoi(service)
	if err != nil {
		return "", nil, fmt.Errorf("start NATS on %s: %w", listen, err)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "keyturn", Host: host, Port: port,
		JetStream: true, StoreDir: dir, SyncAlways: true, NoSigs: true, NoLog: true,
	})
	if err != nil {
		return "", nil, fmt.Errorf("start NATS: %w", err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		s.Shutdown()
		return "", nil, fmt.Errorf("NATS does not start at %s with %s (try: end what uses the port or the directory)", listen, dir)
	}
	return s.ClientURL(), func() { s.Shutdown(); s.WaitForShutdown() }, nil
}

// childVault is the dev Vault, a child process.
type childVault struct {
	addr, token string
	stop        func()
}

// startVault runs the dev Vault. It ends when its standard input closes, also
// because this process was killed. Died is called when it ends by itself.
func startVault(ctx context.Context, dir string, died func(error)) (*childVault, error) {
	binary, err := findDevVault()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	logPath := filepath.Join(dir, "devvault.log")
	logFile, err := os.OpenFile(logPath, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(binary, "-dir", dir)
	cmd.Stderr = logFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt from the terminal is for us
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the dev Vault: %w", err)
	}
	_ = logFile.Close()
	line := make(chan string, 1)
	exited := make(chan error, 1)
	go func() {
		text, _ := bufio.NewReader(stdout).ReadString('\n')
		line <- text
		exited <- cmd.Wait()
	}()
	end := func() error {
		_ = stdin.Close()
		select {
		case err := <-exited:
			return err
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			return <-exited
		}
	}
	var ready struct{ Addr, Token string }
	select {
	case text := <-line:
		if err := json.Unmarshal([]byte(text), &ready); err != nil || ready.Addr == "" {
			_ = end()
			return nil, fmt.Errorf("the dev Vault does not start: %s", lastLine(logPath))
		}
	case <-time.After(60 * time.Second):
		_ = end()
		return nil, fmt.Errorf("the dev Vault does not get ready (see %s)", logPath)
	case <-ctx.Done():
		_ = end()
		return nil, ctx.Err()
	}
	v := &childVault{addr: ready.Addr, token: ready.Token}
	stopping := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case err := <-exited:
			died(fmt.Errorf("the dev Vault has ended: %w (try: start again; nothing is lost)", errors.Join(err, errors.New(lastLine(logPath)))))
			exited <- err
		case <-stopping:
		}
	}()
	v.stop = func() {
		close(stopping)
		<-watched
		_ = end()
	}
	return v, nil
}

func lastLine(path string) string {
	text, err := os.ReadFile(path)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if err != nil || lines[len(lines)-1] == "" {
		return "it said nothing"
	}
	return strings.TrimPrefix(lines[len(lines)-1], "devvault: ")
}

// findDevVault looks beside this program, in bin, and on the PATH.
func findDevVault() (string, error) {
	if given := os.Getenv("KEYTURN_DEVVAULT"); given != "" {
		return given, nil
	}
	places := []string{filepath.Join("bin", "devvault")}
	if self, err := os.Executable(); err == nil {
		places = append([]string{filepath.Join(filepath.Dir(self), "devvault")}, places...)
	}
	for _, place := range places {
		if info, err := os.Stat(place); err == nil && !info.IsDir() {
			return filepath.Abs(place)
		}
	}
	if found, err := exec.LookPath("devvault"); err == nil {
		return found, nil
	}
	return "", errors.New("the dev Vault is not built (try: make build)")
}

// devPortal is the emulated portal, in this process.
type devPortal struct {
	url, password string
	ca            string // the file of its authority; empty = no TLS
	stop          func()
}

func startPortal(dir string, o devOptions, died func(error)) (*devPortal, error) {
	password, err := keptPassword(filepath.Join(dir, "portal-password"))
	if err != nil {
		return nil, err
	}
	portal, err := emulator.New(emulator.Config{
		Dir: filepath.Join(dir, "portal"), Users: map[string]string{emulator.DefaultUser: password},
		MinLifetime: time.Second, Faults: emulator.Faults{Latency: o.latency}, Edition: emulator.Edition(o.edition),
	})
	if err != nil {
		return nil, fmt.Errorf("start the emulated portal: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, portal.Close())
	}
	started := &devPortal{url: "http://" + listener.Addr().String() + portal.BasePath(), password: password}
	if emulator.Edition(o.edition) == emulator.Enterprise {
		started.url, started.ca = "https"+strings.TrimPrefix(started.url, "http"), filepath.Join(dir, "portal-ca.pem")
		settings, err := newAuthority(started.ca)
		if err != nil {
			return nil, errors.Join(err, listener.Close(), portal.Close())
		}
		listener = tls.NewListener(listener, settings)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := portal.Run(ctx, listener); err != nil && ctx.Err() == nil {
			died(fmt.Errorf("the emulated portal has ended: %w", err))
		}
	}()
	started.stop = func() { cancel(); <-ended }
	return started, nil
}

// newAuthority makes a private CA, writes it to a file, and certifies the portal.
func newAuthority(path string) (*tls.Config, error) {
	authority, err := emulator.NewAuthority()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, authority.PEM(), 0o600); err != nil {
		return nil, err
	}
	return authority.Server(false, "127.0.0.1")
}

// keptPassword reads the portal's password, or makes one.
func keptPassword(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err == nil && len(text) > 0 {
		return string(text), nil
	}
	password := rand.Text()
	return password, os.WriteFile(path, []byte(password), 0o600)
}

// keptOperator reads an operator's key, or makes one.
func keptOperator(path, installation string) (control.Identity, error) {
	text, err := os.ReadFile(path)
	switch {
	case err == nil && len(text) > 0:
		identity, err := control.NewIdentity(installation, credential.NewSecret(strings.TrimSpace(string(text))))
		if err != nil {
			return identity, fmt.Errorf("%s: %w", path, err)
		}
		return identity, nil
	case err == nil: // it was killed as it wrote it
		if err := os.Remove(path); err != nil {
			return control.Identity{}, err
		}
	}
	seed, _, err := publisher.GenerateSeed()
	if err != nil {
		return control.Identity{}, err
	}
	if err := writeNew(path, seed); err != nil {
		return control.Identity{}, err
	}
	return control.NewIdentity(installation, seed)
}

// lockDir makes sure that one process uses a state directory.
func lockDir(dir string) (unlock func(), err error) {
	handle, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(handle.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = handle.Close()
		return nil, fmt.Errorf("%s is in use by another keyturn dev (try: end that one, or another --state-dir)", dir)
	}
	return func() { _ = handle.Close() }, nil
}
