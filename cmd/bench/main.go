// Command bench measures keyturn against the raw limits of what it stands on,
// both in the same run, on real parts: JetStream that syncs each append to disk,
// the dev Vault on file storage, the emulated portal over HTTP. Run it by
// `make bench`; the ratio to the raw limit is what can be compared between
// machines, the absolute figures cannot.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"text/tabwriter"
	"time"
)

// row is a line of the table.
type row struct {
	what, figure, limit string
	ratio               float64
	target              string
}

func main() {
	credentials := flag.Int("credentials", 13*inFlight, "credentials that rotate in a round; with a round trip twice as many")
	recovered := flag.Int("recover", 100_000, "credentials to recover")
	due := flag.Int("backlog", 10_000, "credentials that are due in the same second")
	rounds := flag.Int("rounds", 3, "rounds of each measurement; the median counts")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *credentials, *recovered, *due, *rounds); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, credentials, recovered, due, rounds int) error {
	fmt.Printf("%s/%s, %d cores, %s; client and servers share them\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
	var rows []row
	for _, measure := range []func() ([]row, error){
		func() ([]row, error) { return rotations(ctx, credentials, rounds, 0) },
		func() ([]row, error) { return rotations(ctx, 2*credentials, rounds, 50*time.Millisecond) },
		func() ([]row, error) { return recovery(ctx, recovered) },
		func() ([]row, error) { return verification(ctx, recovered, rounds) },
		func() ([]row, error) { return latency(ctx, 400) },
		func() ([]row, error) { return alarm(ctx, 200) },
		func() ([]row, error) { return fleet(ctx, 20*3*fleetLane) },
		func() ([]row, error) { return backlog(ctx, due) },
	} {
		more, err := measure()
		if err != nil {
			return err
		}
		rows = append(rows, more...)
		for _, r := range more {
			fmt.Fprintf(os.Stderr, "  %s: %s\n", r.what, r.figure)
		}
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "WHAT\tKEYTURN\tRAW LIMIT OF THIS RUN\tRATIO\tTARGET")
	for _, r := range rows {
		ratio := "-"
		if r.ratio != 0 {
			ratio = fmt.Sprintf("%.2f", r.ratio)
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", r.what, r.figure, r.limit, ratio, r.target)
	}
	return table.Flush()
}
