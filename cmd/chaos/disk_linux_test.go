package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAFullDiskStopsWritesAndIsEmptiedAgain: by the limit on one process, which
// needs no rights. The short form fills mounted disks where it may mount.
func TestAFullDiskStopsWritesAndIsEmptiedAgain(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "portal"), 0o700))
	p := newPortalServer(dir, dir)
	p.disk.mode = diskLimit
	must(t, p.open())
	t.Cleanup(p.process.end)
	// ending all sessions is a change, which the portal has to write down
	must(t, p.endSessions(t.Context()))
	must(t, p.disk.fill())
	if err := p.endSessions(t.Context()); err == nil || !strings.Contains(err.Error(), "file too large") {
		t.Errorf("a change on a full disk: %v", err)
	}
	must(t, p.disk.empty())
	must(t, p.endSessions(t.Context()))
}
