package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A keeper is a process of ours between the run and each process that is broken.
// It ends that one when its own standard input closes, so that nothing stays
// behind when the run is killed: not a daemon, which does not look at its input,
// nor a process that is stopped and could not look. Signals go through it, as it
// alone knows that the process still is the one that it started.

// keep runs a command; lines on in are signals for it.
func keep(in io.Reader, out io.Writer, logPath string, command []string) error {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(command[0], command[1:]...)
	if command[0] == self() {
		cmd.Args[0] = selfName
	}
	cmd.Stdout, cmd.Stderr = out, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt from the terminal is for the run
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, cmd.Process.Pid); err != nil {
		_ = cmd.Process.Kill()
	}
	go func() {
		lines := bufio.NewScanner(in)
		for lines.Scan() {
			if s, ok := signals()[lines.Text()]; ok {
				_ = cmd.Process.Signal(s)
			}
		}
		_ = cmd.Process.Kill()
		_ = stdin.Close()
	}()
	return cmd.Wait()
}

func signals() map[string]syscall.Signal {
	return map[string]syscall.Signal{
		"kill": syscall.SIGKILL, "term": syscall.SIGTERM, "stop": syscall.SIGSTOP, "cont": syscall.SIGCONT,
	}
}

// process is a process under a keeper, as the run sees it.
type process struct {
	name  string
	pid   int
	lines chan string // of its standard output; closed at its end
	ended chan struct{}

	mu    sync.Mutex
	stdin io.WriteCloser // of the keeper
	err   error          // how it ended; set before ended is closed
}

// launch starts a command under a keeper and waits for its process id.
func launch(name, logPath string, command ...string) (*process, error) {
	cmd := exec.Command(self(), append([]string{subKeeper, logPath}, command...)...)
	cmd.Args[0] = selfName
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, lines: make(chan string, 16), ended: make(chan struct{}), stdin: stdin}
	go func() {
		text := bufio.NewReader(stdout)
		for {
			line, err := text.ReadString('\n')
			if err != nil {
				break
			}
			select {
			case p.lines <- strings.TrimSpace(line):
			default: // nobody reads; it must not wait
			}
		}
		p.err = cmd.Wait()
		close(p.lines)
		close(p.ended)
	}()
	line, err := p.line(launchTime)
	if err == nil {
		_, err = fmt.Sscan(line, &p.pid)
	}
	if err != nil {
		p.end()
		return nil, fmt.Errorf("start %s: %w (see %s)", name, err, logPath)
	}
	return p, nil
}

const (
	launchTime = 20 * time.Second
	endTime    = 20 * time.Second
)

// line is the next line of its standard output.
func (p *process) line(within time.Duration) (string, error) {
	select {
	case line, ok := <-p.lines:
		if !ok {
			return "", errors.New("it has ended")
		}
		return line, nil
	case <-time.After(within):
		return "", fmt.Errorf("it said nothing within %s", within)
	}
}

// signal sends one of the keeper's signals; one for a process that has ended is
// dropped.
func (p *process) signal(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintln(p.stdin, name)
}

// kill is SIGKILL, and waits for the end.
func (p *process) kill() error {
	p.signal("kill")
	return p.wait(endTime)
}

// wait waits for the end.
func (p *process) wait(within time.Duration) error {
	select {
	case <-p.ended:
		return nil
	case <-time.After(within):
		return fmt.Errorf("%s does not end within %s", p.name, within)
	}
}

// end makes sure that nothing is left of it.
func (p *process) end() {
	p.mu.Lock()
	_ = p.stdin.Close()
	p.mu.Unlock()
	<-p.ended
}
