package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
)

// secretWords stand in every key of the emulated portal, or are secrets
// themselves.
func secretWords() []string {
	return []string{"AAPT", portalPassword, rootToken, "hvs."}
}

// checkSecrets: no event holds a secret.
func checkSecrets(messages []message, r *result) {
	for _, m := range messages {
		r.looked[badSecret]++
		for _, word := range secretWords() {
			if bytes.Contains(m.Data, []byte(word)) {
				r.violate(badSecret, "", "message %d holds %q", m.Sequence, word)
			}
		}
	}
}

// searchLogs: no log of a daemon holds a secret.
func (w *world) searchLogs(r *result) error {
	for _, d := range w.daemons {
		text, err := os.ReadFile(filepath.Join(w.logs, d.name+".log"))
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			r.looked[badSecret]++
			for _, word := range secretWords() {
				if strings.Contains(line, word) {
					r.violate(badSecret, "", "a log line of %s holds %q", d.name, word)
				}
			}
		}
	}
	return nil
}
