// Package schedule decides when a credential is looked at, never what is done
// with it.
//
// The record is authoritative: what stands here is a copy of due times that can
// be lost at any time and is rebuilt from the record at start and by every
// sweep. There is one heap of due times and one timer for all credentials, and
// one lane of workers per issuer, so that a silent issuer holds up nobody else.
//
// A credential is waiting (in the heap), queued (in its lane, most urgent
// first) or running (one pass at a time). A wake-up that comes while it runs is
// kept and leads to another pass; wake-ups may merge, none is lost. A pass that
// fails, which means that the record could not be read or written, is tried
// again after a growing delay of at most half a minute.
package schedule
