//go:build unix

package emulator_test

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/keyturn/keyturn/rotator/arcgis/emulator"
)

func TestAKilledPortalLosesNothing(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serveDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	line := bufio.NewScanner(out)
	if !line.Scan() {
		t.Fatal("the child says nothing")
	}
	b := &bench{t: t, clock: newClock(), root: line.Text() + "/sharing/rest"}
	b.clock.Advance(time.Since(b.clock.Now()))
	b.token = b.signIn(user, emulator.DefaultPassword)
	c := b.basemaps()
	c.key("1")

	var mu sync.Mutex
	answered, enough := map[string]bool{}, make(chan struct{})
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for {
				res, err := b.do(http.MethodPost, b.root+"/content/users/"+user+"/addItem", nil, b.form([]string{"title", "t", "type", "Application"}))
				if err != nil {
					return // killed
				}
				var id string
				if _, err := fmt.Fscanf(res.Body, `{"success":true,"id":"%32s`, &id); err == nil {
					mu.Lock()
					if answered[id] = true; len(answered) == 200 {
						close(enough)
					}
					mu.Unlock()
				}
				res.Body.Close()
			}
		})
	}
	select {
	case <-enough:
	case <-time.After(time.Minute):
		t.Fatal("no 200 answers within a minute")
	}
	cmd.Process.Kill()
	writers.Wait()
	cmd.Wait()

	p, err := emulator.New(emulator.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, it := range p.Snapshot() {
		delete(answered, it.ID)
		if it.ID == c.id {
			equal(t, it.Slots[0].Active, true)
			equal(t, it.Slots[0].Generations, 1)
		}
	}
	if len(answered) > 0 {
		t.Errorf("%d answered items are gone", len(answered))
	}
	http.DefaultClient.CloseIdleConnections()
}
