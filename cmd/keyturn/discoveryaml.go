package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/keyturn/keyturn/cmd/keyturn/internal/config"
	"github.com/keyturn/keyturn/cmd/keyturn/internal/declare"
	"github.com/keyturn/keyturn/rotator/arcgis/privilege"
	"github.com/keyturn/keyturn/rotator/credential"
	"github.com/keyturn/keyturn/rotator/schedule"
)

// declaring writes what was discovered as declarations.
type declaring struct {
	issuer   string
	config   *config.Config
	calendar *schedule.Calendar
	now      time.Time
	taken    map[credential.Name]bool // names that are not free
}

const declaredHead = `# API key credentials of issuer %s that no installation manages. Look at the policies,
# save this as FILE, and run the command above each to take it over as it is: it asks
# for the key that is in use. keyturn apply alone would make new items beside these.
`

// print writes them all. One that cannot be declared as it is stands in comments.
func (d declaring) print(out io.Writer, list []discovered) error {
	var text strings.Builder
	_, _ = fmt.Fprintf(&text, declaredHead, d.issuer)
	first := true
	for _, found := range list {
		switch {
		case found.ManagedBy != "":
			continue
		case found.Installation != "":
			_, _ = fmt.Fprintf(&text, "\n# left out: item %s: %s\n", oneLine(found.Item), oneLine(found.manager(d.config.Installation)))
			continue
		}
		entry, name, err := d.entry(found)
		if err != nil {
			_, _ = fmt.Fprintf(&text, "\n# item %s cannot be declared as it is:\n%s%s", oneLine(found.Item), commented(err.Error()), commented(entry))
			continue
		}
		d.taken[name] = true
		if first {
			text.WriteString("credentials:")
			first = false
		}
		_, _ = fmt.Fprintf(&text, "\n# item %s of %s; slot 1 %s, slot 2 %s\n# keyturn adopt %s --issuer %s --item %s --key-stdin -f FILE\n%s",
			oneLine(found.Item), oneLine(found.Owner), found.Slots[0].word(d.now), found.Slots[1].word(d.now), name, d.issuer, oneLine(found.Item), entry)
	}
	if first {
		text.WriteString("# There is none to declare.\n")
	}
	_, err := io.WriteString(out, text.String())
	return err
}

func commented(text string) string {
	var lines strings.Builder
	for line := range strings.Lines(strings.TrimSpace(text)) {
		lines.WriteString("#   " + strings.TrimRight(line, "\n") + "\n")
	}
	return lines.String()
}

// entry is an element of the list, which package declare takes.
func (d declaring) entry(found discovered) (text string, name credential.Name, err error) {
	spec := found.Spec
	name = d.name(spec.Title)
	e := &entryText{}
	e.field("name", string(name))
	e.field("issuer", d.issuer)
	e.field("title", declarable(spec.Title))
	e.field("folder", declarable(spec.Folder))
	e.field("description", spec.Description)
	e.list("tags", spec.Tags)
	e.list("privileges", spec.Privileges)
	e.list("items", spec.Items)
	e.list("referrers", spec.Referrers)
	e.flag("personal", slices.ContainsFunc(spec.Privileges, privilege.Personal))
	e.flag("allow_unlisted_privileges", slices.ContainsFunc(spec.Privileges, func(p string) bool { return !privilege.Listed(p) }))
	e.line("policy:\n    lifetime: 90d")
	_, err = declare.Parse("item", []byte("credentials:\n"+e.String()), declare.Context{
		Issuers:  map[string]declare.Issuer{d.issuer: {MinLifetime: d.config.Issuers[d.issuer].MinLifetime.Value}},
		Calendar: d.calendar, Now: d.now,
	})
	return e.String(), name, err
}

// entryText is a declaration as YAML, field by field; what is empty is left out.
type entryText struct{ strings.Builder }

func (e *entryText) line(text string) {
	indent := "  "
	if e.Len() == 0 {
		indent = "- "
	}
	e.WriteString(indent + text + "\n")
}

func (e *entryText) field(name, value string) {
	if value != "" {
		e.line(name + ": " + scalar(value))
	}
}

func (e *entryText) list(name string, values []string) {
	values = distinct(values)
	if len(values) == 0 {
		return
	}
	e.line(name + ":")
	for _, value := range values {
		e.line("  - " + scalar(value))
	}
}

func (e *entryText) flag(name string, set bool) {
	if set {
		e.line(name + ": true")
	}
}

// scalar is a text in YAML: plain if it is words, or words joined by colons, and
// otherwise in quotes. What Go quotes, YAML reads.
func scalar(text string) string {
	word := func(c rune) bool {
		return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.' || c == '/'
	}
	separator := ":"
	if strings.Contains(text, " ") {
		separator = " "
	}
	plain := !slices.Contains([]string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}, strings.ToLower(text))
	for i, part := range strings.Split(text, separator) {
		plain = plain && part != "" && !strings.ContainsFunc(part, func(c rune) bool { return !word(c) }) && (i > 0 || unicode.IsLetter(rune(part[0])))
	}
	if plain {
		return text
	}
	return strconv.Quote(text)
}

// declarable is a title as it is, unless it has what no declaration may have.
func declarable(text string) string {
	if strings.ContainsFunc(text, unicode.IsControl) {
		return oneLine(text)
	}
	return text
}

// name makes a free name of a title.
func (d declaring) name(title string) credential.Name {
	const most = 63 - len("-999999")
	base := slug(d.issuer, 63, "found") + "/" + slug(title, most, "key")
	name := credential.Name(base)
	for n := 2; d.taken[name]; n++ {
		name = credential.Name(fmt.Sprintf("%s-%d", base, n))
	}
	return name
}

// slug is a part of a name: a-z, 0-9 and -; other runs of characters become one -.
func slug(text string, most int, otherwise string) string {
	words := strings.FieldsFunc(strings.ToLower(text), func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') })
	part := strings.Join(words, "-")
	part = strings.Trim(part[:min(len(part), most)], "-")
	if part == "" {
		return otherwise
	}
	return part
}

// distinct leaves out what stands twice, and keeps the order.
func distinct(list []string) []string {
	var once []string
	for _, text := range list {
		if !slices.Contains(once, text) {
			once = append(once, text)
		}
	}
	return once
}
