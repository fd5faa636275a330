package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/rotator/logkey"
)

// status is what /readyz says: part → what is wrong with it; "" = nothing.
type status struct {
	mu    sync.Mutex
	parts map[string]string
}

func newStatus(parts ...string) *status {
	s := &status{parts: map[string]string{}}
	for _, part := range parts {
		s.parts[part] = "starting"
	}
	return s
}

func (s *status) set(part, wrong string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parts[part] = wrong
}

// err joins what is wrong; nil = ready.
func (s *status) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var wrong []error
	for _, part := range slices.Sorted(maps.Keys(s.parts)) {
		if s.parts[part] != "" {
			wrong = append(wrong, fmt.Errorf("%w: %s: %s", errNotReady, part, s.parts[part]))
		}
	}
	return errors.Join(wrong...)
}

// serveHTTP serves /metrics, /healthz and /readyz until ctx ends.
func serveHTTP(ctx context.Context, address string, registry *prometheus.Registry, status *status, logger *zap.Logger) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := status.err(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ready")
	})
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("daemon.http: %w (try: another address, or 127.0.0.1:0 for any free port)", err)
	}
	logger.Info("metrics and health", zap.String(logkey.Address, "http://"+listener.Addr().String()))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	down, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := server.Shutdown(down); err != nil {
		return server.Close()
	}
	return nil
}
