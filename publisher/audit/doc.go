// Package audit proves that a record is what keyturn wrote, or names each event
// that is not. It reads raw messages from the stream, or from an export of it,
// and believes nothing but signatures.
//
// # What is found
//
// From the messages alone: an event that was changed, removed, put in, put in
// another place, signed by nobody who is vouched for, or signed by a signer long
// after it was replaced; a revision that does not go up by one; a checkpoint on
// the record that is not what it says.
//
// Against a checkpoint that was kept elsewhere: a tail that was cut off, a
// stream that was built anew, and a history that was signed again by a holder
// of the key. None of these shows from the messages alone. Neither does a swap
// of two events of different credentials that have no successors yet: it
// changes no credential's history.
//
// # How
//
// Each message is examined by itself (hash, signature, form), on all
// processors. One fold then goes over them in the order of the stream and
// compares each with what is last on its subject. Where they do not fit, the
// revision that is signed in the state tells what is missing from what was put
// there. A finding is about the event that is wrong, not about the one that
// shows it.
//
// # Rights
//
// A Stream reads with these subjects and no others; an auditor needs no right
// to publish anything else:
//
//	publish    $JS.API.STREAM.INFO.KEYTURN
//	           $JS.API.STREAM.MSG.GET.KEYTURN
//	           $JS.API.CONSUMER.CREATE.KEYTURN.>
//	           $JS.API.CONSUMER.MSG.NEXT.KEYTURN.>
//	subscribe  _INBOX.>
//
// # Export
//
// One JSON object a line: a header, the messages, and an end that counts them.
// Each message carries its number, so that a missing line is told by its number
// and not taken for a removed event. What stands in it is as exact as the
// stream: the data is base64.
package audit
