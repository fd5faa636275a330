package strict

import "github.com/goccy/go-yaml/ast"

// entry is a key of a mapping with its value.
type entry struct {
	name  string
	key   Pos
	value ast.Node
}

// entries lists a mapping, merge keys included; what stands in the mapping
// itself comes before what is merged into it. Problems go to report, which may
// be nil.
func (d *Document) entries(n ast.Node, report func(Pos, string)) []entry {
	return d.collect(n, report, 0)
}

func (d *Document) collect(n ast.Node, report func(Pos, string), depth int) []entry {
	if report == nil {
		report = func(Pos, string) {}
	}
	mapping, ok := n.(ast.MapNode)
	if !ok {
		return nil
	}
	var own, merged []entry
	seen := map[string]bool{}
	for iter := mapping.MapRange(); iter.Next(); {
		key := iter.Key()
		pos := d.start(key)
		if key.IsMergeKey() {
			merged = append(merged, d.merged(iter.Value(), pos, report, depth)...)
			continue
		}
		name, ok := keyText(key)
		switch {
		case !ok:
			report(pos, "a key must be plain text")
		case seen[name]:
			report(pos, "the same key stands here twice")
		default:
			seen[name] = true
			own = append(own, entry{name, pos, iter.Value()})
		}
	}
	for _, e := range merged {
		if !seen[e.name] {
			seen[e.name] = true
			own = append(own, e)
		}
	}
	return own
}

// merged lists what a merge key brings.
func (d *Document) merged(n ast.Node, pos Pos, report func(Pos, string), depth int) []entry {
	n, fault := d.follow(n)
	switch {
	case fault != "":
		report(pos, fault)
		return nil
	case depth > 8:
		report(pos, "merge keys are nested too deep")
		return nil
	}
	if list, ok := n.(*ast.SequenceNode); ok {
		var all []entry
		for _, v := range list.Values {
			if d.budget--; d.budget < 0 {
				report(pos, "too much is repeated by aliases")
				return nil
			}
			all = append(all, d.merged(v, pos, report, depth+1)...)
		}
		return all
	}
	if _, ok := n.(ast.MapNode); !ok {
		report(pos, "a merge key wants a mapping")
		return nil
	}
	if d.budget--; d.budget < 0 {
		report(pos, "too much is repeated by aliases")
		return nil
	}
	return d.collect(n, report, depth+1)
}

// keyText is the text of a key.
func keyText(key ast.Node) (string, bool) {
	switch key := key.(type) {
	case *ast.StringNode:
		return key.Value, true
	case *ast.MappingKeyNode:
		if key.Value != nil {
			return keyText(key.Value)
		}
		return "", false
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		return key.GetToken().Value, true
	}
	return "", false
}
