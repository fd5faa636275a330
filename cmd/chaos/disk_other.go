//go:build !linux

package main

import (
	"errors"
	"syscall"
)

// isolations: there are no namespaces here.
func isolations() []*syscall.SysProcAttr { return []*syscall.SysProcAttr{{}} }

var errNoDisks = errors.New("disks can be filled on Linux only")

func openDisks(string, []string) (diskMode, error) { return diskNone, errNoDisks }

func fillMount(string) error { return errNoDisks }

func emptyMount(string) error { return errNoDisks }

func limitFiles(int, bool) error { return errNoDisks }
