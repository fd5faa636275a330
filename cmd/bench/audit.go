package main

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/keyturn/keyturn/publisher/audit"
	"github.com/keyturn/keyturn/rotator/credential"
)

// verification measures `audit verify` from the stream to the report, against
// plain Ed25519 verification of as many digests on as many cores. The rounds of
// both are taken in turn; the median counts.
func verification(ctx context.Context, n, rounds int) ([]row, error) {
	w := &world{lax: true}
	defer w.close()
	for _, part := range []func(context.Context) error{w.openDir, w.openNATS} {
		if err := part(ctx); err != nil {
			return nil, err
		}
	}
	names := make([]credential.Name, n/4) // each has four events
	for i := range names {
		names[i] = credential.Name(fmt.Sprintf("bench/key-%d", i))
	}
	if err := parallel(ctx, names, func(name credential.Name) error { return w.appendLife(ctx, name) }); err != nil {
		return nil, err
	}
	n = 4 * len(names)
	var verified, raw []float64
	for range rounds {
		began := time.Now()
		report, err := audit.Verify(ctx, audit.Stream{Record: w.record}, audit.Options{})
		if err != nil {
			return nil, err
		}
		if !report.Intact || report.Events != n+1 {
			return nil, fmt.Errorf("%d of %d events were verified, with %d findings", report.Events, n+1, len(report.Findings))
		}
		verified = append(verified, float64(report.Events)/time.Since(began).Seconds())
		rate, err := rawVerify(n)
		if err != nil {
			return nil, err
		}
		raw = append(raw, rate)
	}
	have, limit := median(verified), median(raw)
	return []row{{
		fmt.Sprintf("audit verify of %d events, reading them included", n), fmt.Sprintf("%.0f/s", have),
		fmt.Sprintf("%.0f Ed25519 verifications/s", limit), have / limit, ">= 0.60",
	}}, nil
}

// appendLife appends the events of a first key, each after the one before it.
func (w *world) appendLife(ctx context.Context, name credential.Name) error {
	life, err := w.firstKey(name)
	if err != nil {
		return err
	}
	head := credential.Head{}
	for _, e := range life {
		if head, err = w.record.Append(ctx, name, head, e.Event, e.State); err != nil {
			return err
		}
	}
	return nil
}

// rawVerify is how many digests a second this machine verifies on all cores.
func rawVerify(n int) (float64, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return 0, err
	}
	sum := sha256.Sum256([]byte("bench"))
	signature := ed25519.Sign(private, sum[:])
	workers := runtime.GOMAXPROCS(0)
	good := make([]bool, workers)
	began := time.Now()
	var group sync.WaitGroup
	for i := range workers {
		group.Go(func() {
			good[i] = true
			for range n / workers {
				good[i] = good[i] && ed25519.Verify(public, sum[:], signature)
			}
		})
	}
	group.Wait()
	took := time.Since(began)
	for _, ok := range good {
		if !ok {
			return 0, errors.New("a signature does not hold")
		}
	}
	return float64(n/workers*workers) / took.Seconds(), nil
}
