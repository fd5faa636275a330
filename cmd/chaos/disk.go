package main

// diskMode says how a disk is made full.
type diskMode string

const (
	diskMount diskMode = "tmpfs of a mount namespace of its own, shrunk to what is used"
	diskLimit diskMode = "RLIMIT_FSIZE of the process: no file grows"
	diskNone  diskMode = "not at all on this system"
)

// diskSize bounds each of the small file systems; memory is used as they fill.
const diskSize = "2g"

// disk is the place where one server keeps its files.
type disk struct {
	mode diskMode
	dir  string
	pid  func() int
}

func (d disk) fill() error {
	switch d.mode {
	case diskMount:
		return fillMount(d.dir)
	case diskLimit:
		return limitFiles(d.pid(), true)
	}
	return nil
}

func (d disk) empty() error {
	switch d.mode {
	case diskMount:
		return emptyMount(d.dir)
	case diskLimit:
		return limitFiles(d.pid(), false)
	}
	return nil
}
