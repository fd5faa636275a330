package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keyturn/keyturn/rotator/control"
	"github.com/keyturn/keyturn/rotator/credential"
)

// The results in a completeness report.
const (
	resultDone     = "done"
	resultAlready  = "already"
	resultFailed   = "failed"
	resultNotFound = "not-found"
	resultWould    = "would" // of a dry run
)

// outcome is what became of one credential, or of one line of a list.
type outcome struct {
	Name   credential.Name        `json:"name,omitempty"`
	Key    credential.Fingerprint `json:"key,omitempty"`
	Result string                 `json:"result"`
	// Detail says why, or what exactly.
	Detail  string `json:"detail,omitempty"`
	Request string `json:"request,omitempty"`

	notable bool // the table has it though it is done
}

// completeness is the report at the end of a command on several credentials.
type completeness struct {
	Done     int       `json:"done"`
	Already  int       `json:"already"`
	Failed   int       `json:"failed"`
	NotFound int       `json:"not_found"`
	LeftOut  int       `json:"left_out,omitempty"`
	Outcomes []outcome `json:"outcomes"`
}

func reportOf(outcomes []outcome, leftOut int) completeness {
	report := completeness{Outcomes: outcomes, LeftOut: leftOut}
	if outcomes == nil {
		report.Outcomes = []outcome{}
	}
	for _, o := range outcomes {
		switch o.Result {
		case resultDone, resultWould:
			report.Done++
		case resultAlready:
			report.Already++
		case resultFailed:
			report.Failed++
		case resultNotFound:
			report.NotFound++
		}
	}
	return report
}

// print writes the report. A table names what is not done; JSON has all.
func (c completeness) print(out io.Writer, output string, dryRun bool) error {
	if output == "json" {
		return printJSON(out, c)
	}
	var rows [][]string
	for _, o := range c.Outcomes {
		if (o.Result == resultDone && !o.notable) || (o.Result == resultAlready && len(c.Outcomes) > maxShown) {
			continue
		}
		rows = append(rows, []string{orDash(string(o.Name)), orDash(string(o.Key)), o.Result, o.Detail})
	}
	if len(rows) > 0 {
		if err := printTable(out, []string{"NAME", "KEY", "RESULT", "WHY"}, rows); err != nil {
			return err
		}
	}
	if dryRun {
		_, err := fmt.Fprintf(out, "%d would be asked for, %d not found; nothing was sent\n", c.Done, c.NotFound)
		return err
	}
	line := fmt.Sprintf("%d done, %d already, %d failed, %d not found", c.Done, c.Already, c.Failed, c.NotFound)
	if c.LeftOut > 0 {
		line += fmt.Sprintf("; %d of the list left out by the other flags", c.LeftOut)
	}
	_, err := fmt.Fprintln(out, line)
	return err
}

// maxShown is how many lines a table has of what was so already.
const maxShown = 50

// err is the error of a report: everything must be done, or be so already.
func (c completeness) err() error {
	switch {
	case c.Failed+c.NotFound > 0:
		return errors.New("not everything is done (try: the same command again, which goes on where it stopped)")
	case len(c.Outcomes) == 0:
		return errors.New("nothing is selected (try: keyturn list with the same flags)")
	}
	return nil
}

// end is err, or that there was nothing to do.
func (c completeness) end() error {
	if err := c.err(); err != nil || c.Already < len(c.Outcomes) {
		return err
	}
	return nothing()
}

// each runs do for all targets, so many at a time, and keeps their order.
func each(targets []target, concurrency int, do func(target) outcome) []outcome {
	outcomes := make([]outcome, len(targets))
	var group errgroup.Group
	group.SetLimit(max(1, concurrency))
	for i, t := range targets {
		group.Go(func() error {
			outcomes[i] = do(t)
			return nil
		})
	}
	_ = group.Wait() // none of them returns an error
	return outcomes
}

// answeredBy turns a daemon's answer into an outcome.
func answeredBy(t target, answer control.Answer, err error) outcome {
	o := outcome{Name: t.name, Key: t.key, Result: resultDone, Detail: answer.Detail, Request: answer.Request, notable: answer.Detail != ""}
	var refusal *control.Refusal
	switch {
	case errors.As(err, &refusal) && refusal.Code == control.CodeUnknown:
		o.Result, o.Detail = resultNotFound, err.Error()
	case err != nil:
		o.Result, o.Detail = resultFailed, err.Error()
	case answer.Result == control.ResultUnchanged:
		o.Result = resultAlready
	}
	return o
}

// progress tells on standard error how far a command on several is: one line
// that changes on a terminal, else a line every few seconds.
type progress struct {
	out      io.Writer
	terminal bool
	stop     func()
	mu       sync.Mutex
	shown    string
}

const (
	progressTick  = 200 * time.Millisecond
	progressEvery = 5 * time.Second
)

// startProgress shows what text returns until end is called.
func startProgress(ctx context.Context, out io.Writer, text func() string) *progress {
	p := &progress{out: out, terminal: isTerminal(out)}
	ctx, cancel := context.WithCancel(ctx)
	every := progressEvery
	if p.terminal {
		every = progressTick
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				p.show(text())
			}
		}
	}()
	p.stop = func() {
		cancel()
		<-ended
		if p.terminal && p.shown != "" {
			_, _ = fmt.Fprintf(p.out, "\r%s\r", strings.Repeat(" ", len(p.shown)))
		}
	}
	return p
}

func (p *progress) show(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal {
		_, _ = fmt.Fprintf(p.out, "\r%-*s", len(p.shown), text)
	} else if text != p.shown {
		_, _ = fmt.Fprintln(p.out, text)
	}
	p.shown = text
}

// bar is a progress bar in text.
func bar(done, all int) string {
	const width = 30
	filled := width
	if all > 0 {
		filled = width * done / all
	}
	return fmt.Sprintf("[%s%s] %d of %d", strings.Repeat("=", filled), strings.Repeat(" ", width-filled), done, all)
}

// isTerminal reports whether a stream is one that a person sits at.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
