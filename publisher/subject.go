package publisher

import (
	"fmt"
	"strings"

	"github.com/keyturn/keyturn/rotator/credential"
)

// StreamName is the JetStream stream that holds every record.
const StreamName = "KEYTURN"

const (
	recordPrefix = "keyturn.record."
	eventPrefix  = "keyturn.events."
	// systemToken cannot be the namespace of a credential: it has an underscore.
	systemToken   = "_system"
	systemPrefix  = recordPrefix + systemToken + "."
	recordFilter  = recordPrefix + ">"
	eventFilter   = eventPrefix + ">"
	signersFacts  = "signers"
	signerSubject = systemPrefix + signersFacts
)

// RecordSubject is where the events of a credential are stored. Only daemons
// may publish on it.
func RecordSubject(name credential.Name) string {
	return recordPrefix + name.Namespace() + "." + name.Base()
}

// EventSubject is where plain NATS subscribers receive the committed events of
// a credential.
func EventSubject(name credential.Name) string {
	return eventPrefix + name.Namespace() + "." + name.Base()
}

// SystemSubject is where facts about the whole installation are stored, such
// as "signers".
func SystemSubject(fact string) string { return systemPrefix + fact }

// NameOfSubject returns the credential of a record or event subject. The
// subjects of the installation belong to no credential and give an error.
func NameOfSubject(subject string) (credential.Name, error) {
	rest, ok := strings.CutPrefix(subject, recordPrefix)
	if !ok {
		rest, ok = strings.CutPrefix(subject, eventPrefix)
	}
	namespace, base, dotted := strings.Cut(rest, ".")
	if !ok || !dotted {
		return "", fmt.Errorf("subject %q belongs to no credential", subject)
	}
	name, err := credential.ParseName(namespace + "/" + base)
	if err != nil {
		return "", fmt.Errorf("subject %q belongs to no credential: %w", subject, err)
	}
	return name, nil
}
