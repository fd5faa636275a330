//go:build !unix

package emulator

import "io"

// lockDir does nothing on systems without advisory locks.
func lockDir(string) (io.Closer, error) { return io.NopCloser(nil), nil }
