package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"
)

// isolations are the ways to a mount namespace of our own, the best first. What
// is mounted in it is gone when its last process is, however that ends.
func isolations() []*syscall.SysProcAttr {
	own := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	groups := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	return []*syscall.SysProcAttr{
		{Cloneflags: syscall.CLONE_NEWNS},
		{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER, UidMappings: own, GidMappings: groups},
		{},
	}
}

// openDisks mounts a small file system for each directory.
func openDisks(root string, names []string) (diskMode, error) {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return diskLimit, fmt.Errorf("no mount namespace of our own: %w", err)
	}
	for _, name := range names {
		if err := syscall.Mount("chaos", filepath.Join(root, name), "tmpfs", 0, "mode=700,size="+diskSize); err != nil {
			return diskLimit, fmt.Errorf("mount a tmpfs: %w", err)
		}
	}
	return diskMount, nil
}

// fillMount shrinks a file system to what is used of it: it is full.
func fillMount(dir string) error {
	var used syscall.Statfs_t
	if err := syscall.Statfs(dir, &used); err != nil {
		return err
	}
	size := max(1, used.Blocks-used.Bfree)
	return syscall.Mount("chaos", dir, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%d", size*uint64(used.Bsize)))
}

func emptyMount(dir string) error {
	return syscall.Mount("chaos", dir, "tmpfs", syscall.MS_REMOUNT, "size="+diskSize)
}

// limitFiles keeps a process from growing any file, or lets it again.
func limitFiles(pid int, full bool) error {
	const infinity = ^uint64(0)
	limit := [2]uint64{infinity, infinity} // soft, hard
	if full {
		limit[0] = 0
	}
	const rlimitFsize = 1
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(pid), rlimitFsize, uintptr(unsafe.Pointer(&limit)), 0, 0, 0)
	if errno == syscall.ESRCH {
		return nil // gone: nothing to limit
	}
	if errno != 0 {
		return fmt.Errorf("limit the files of process %d: %w", pid, errno)
	}
	return nil
}
