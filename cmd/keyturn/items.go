package main

import (
	"fmt"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// itemLines say which items a credential has at the issuer: the one that carries
// its keys, and those that were left and are to be deleted.
func itemLines(s credential.State, now time.Time) []string {
	var lines []string
	item := s.Spec.Item
	if primary, ok := s.Primary(); ok {
		line := fmt.Sprintf("item         %s, title %q", primary.Item, item.Title)
		if item.Folder != "" {
			line += fmt.Sprintf(" in folder %q", item.Folder)
		}
		if s.Edit != nil {
			line += "; to be edited in place"
		}
		lines = append(lines, line)
	}
	for _, old := range s.Old {
		lines = append(lines, fmt.Sprintf("old item     %s, left %s: %s", old.Item, clock(old.Since), oldText(s, old, now)))
	}
	for _, item := range s.Kept {
		lines = append(lines, "kept item    "+item+", left alone since a life under this name ended")
	}
	return lines
}

// oldText says what the deletion of an item waits for.
func oldText(s credential.State, old credential.OldItem, now time.Time) string {
	inUse := func() string {
		for _, d := range s.Drift {
			if d.Kind == credential.FindingItemInUse && d.Seat.Item == old.Item {
				return d.Detail
			}
		}
		return ""
	}()
	switch {
	case s.Uses(old.Item):
		return "it is deleted for good when no key of ours lives on it any more"
	case inUse != "":
		return "it is not deleted: " + inUse
	case s.Held(now):
		return "it is not deleted while a hold stands"
	case old.Failure != nil:
		return failureText(*old.Failure, now)
	}
	return "it is deleted for good next"
}
