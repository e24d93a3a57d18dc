package groups

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/musterhq/muster/builtin/spec"
)

// parseTaskGroups reads the JSON of yunikorn.apache.org/task-groups. Text that is no
// JSON list gives no groups and one problem with line and column. A fault inside one
// group costs that group what is faulty and no more: YuniKorn drops all groups, and with
// them the gang, when one has minMember 0.
func parseTaskGroups(text string) ([]Group, []Problem) {
	p := &groupParser{text: text, dec: json.NewDecoder(strings.NewReader(text))}
	if err := p.list(); err != nil {
		p.broken(err)
		return nil, p.problems
	}
	return p.groups, p.problems
}

type groupParser struct {
	text     string
	dec      *json.Decoder
	groups   []Group
	index    int // of the group being read
	problems []Problem
}

// member is one key of a group, its value undecoded, and where the value ends.
type member struct {
	key   string
	value json.RawMessage
	at    int64
}

func (p *groupParser) list() error {
	if err := p.open('[', "a list of task groups"); err != nil {
		return err
	}
	for p.dec.More() {
		members, err := p.object()
		if err != nil {
			return err
		}
		p.group(members)
	}
	if _, err := p.dec.Token(); err != nil {
		return err
	}
	if _, err := p.dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more text after the list")
	}
	return nil
}

// open takes the bracket that begins a list or an object.
func (p *groupParser) open(want json.Delim, what string) error {
	t, err := p.dec.Token()
	if err != nil {
		return err
	}
	if t != want {
		return fmt.Errorf("want %s, which begins with %s", what, want)
	}
	return nil
}

func (p *groupParser) object() ([]member, error) {
	if err := p.open('{', "a task group"); err != nil {
		return nil, err
	}
	var out []member
	for p.dec.More() {
		key, err := p.dec.Token()
		if err != nil {
			return nil, err
		}
		m := member{key: key.(string), at: p.dec.InputOffset()} // the decoder takes strings only for keys
		if err := p.dec.Decode(&m.value); err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	_, err := p.dec.Token()
	return out, err
}

// group decodes one group.
func (p *groupParser) group(members []member) {
	g, min := Group{}, int64(0)
	seen := map[string]bool{}
	for _, m := range members {
		key := strings.ToLower(m.key) // as encoding/json does for YuniKorn
		if seen[key] {
			p.fault("duplicate-key", m, "write it once", "%s is given twice; the last one counts", m.key)
		}
		seen[key] = true
		var err error
		switch key {
		case "name":
			err = json.Unmarshal(m.value, &g.Name)
		case "minmember":
			err = json.Unmarshal(m.value, &min)
			g.Min = p.min(m, min)
		case "minresource":
			g.Request = p.resources(m)
		case "nodeselector":
			err = json.Unmarshal(m.value, &g.NodeSelector)
		case "tolerations":
			err = json.Unmarshal(m.value, &g.Tolerations)
		case "affinity":
			err = json.Unmarshal(m.value, &g.Affinity)
		case "labels", "annotations", "topologyspreadconstraints": // of placeholder pods, which there are none of
		default:
			p.fault("unknown-field", m, "", "%s is not a field of a task group", m.key)
		}
		if err != nil {
			p.fault("bad-group", m, "", "%s can't be read: %v", m.key, err)
		}
	}
	p.add(g, seen)
	p.index++
}

// add takes a group that has a name of its own.
func (p *groupParser) add(g Group, seen map[string]bool) {
	switch {
	case g.Name == "":
		p.say("no-group-name", "", "the group has no name, so no pod can be in it; it is left out")
		return
	case p.has(g.Name):
		p.say("duplicate-group", "give each group its own name", "there are two groups %q; the first one counts", g.Name)
		return
	case !seen["minmember"]:
		p.say("no-min", "write minMember", "group %q does not say how many pods must run; they start one by one", g.Name)
	}
	g.Leader = leaders[g.Name]
	p.groups = append(p.groups, g)
}

func (p *groupParser) has(name string) bool {
	for i := range p.groups {
		if p.groups[i].Name == name {
			return true
		}
	}
	return false
}

// min judges a minMember. 0 is an elastic group.
func (p *groupParser) min(m member, n int64) int32 {
	switch {
	case n < 0:
		p.fault("bad-min", m, "write 0 for pods that start one by one", "minMember is %d; it is taken for 0", n)
		return 0
	case n > spec.MaxTasks:
		p.fault("bad-min", m, "", "minMember is %d, at most %d", n, spec.MaxTasks)
		p.problems[len(p.problems)-1].Fatal = true
		return 0
	}
	return int32(n)
}

// resources reads what one pod of the group asks for.
func (p *groupParser) resources(m member) spec.Resources {
	texts := map[corev1.ResourceName]json.RawMessage{}
	if err := json.Unmarshal(m.value, &texts); err != nil {
		p.fault("bad-group", m, `write {"cpu": "1", "memory": "2Gi"}`, "minResource can't be read: %v", err)
		return nil
	}
	out, bad := resourcesOf(texts, quantityOfJSON)
	for _, b := range bad {
		p.fault("bad-quantity", m, b.hint, "%s of minResource is %s", b.name, b.text)
	}
	return out
}

// fault is a problem of one member of the group that is being read.
func (p *groupParser) fault(code string, m member, hint, format string, args ...any) {
	line, column := p.position(m.at)
	p.problems = append(p.problems, Problem{
		Code: code, Hint: hint,
		Field: fmt.Sprintf("%s[%d].%s", at(annotationsField, ykGroups), p.index, m.key),
		Text:  fmt.Sprintf("line %d, column %d: %s", line, column, fmt.Sprintf(format, args...)),
	})
}

// say is a problem of the group as a whole, which ends where the decoder is.
func (p *groupParser) say(code, hint, format string, args ...any) {
	line, column := p.position(p.dec.InputOffset())
	p.problems = append(p.problems, Problem{
		Code: code, Hint: hint,
		Field: fmt.Sprintf("%s[%d]", at(annotationsField, ykGroups), p.index),
		Text:  fmt.Sprintf("line %d, column %d: %s", line, column, fmt.Sprintf(format, args...)),
	})
}

// broken is the one problem of text that is no list of groups.
func (p *groupParser) broken(err error) {
	offset := p.dec.InputOffset()
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		offset, err = int64(len(p.text)), errors.New("the text ends in the middle of the list")
	}
	line, column := p.position(offset)
	p.problems = []Problem{{ // what was wrong with groups before matters no more
		Code: "bad-task-groups", Field: at(annotationsField, ykGroups),
		Text: fmt.Sprintf("line %d, column %d: %v; the pods start one by one", line, column, err),
		Hint: `write [{"name": "workers", "minMember": 2, "minResource": {"cpu": "1"}}]`,
	}}
}

// position of an offset, from 1.
func (p *groupParser) position(offset int64) (line, column int) {
	before := p.text[:min(max(offset, 0), int64(len(p.text)))]
	return strings.Count(before, "\n") + 1, len(before) - strings.LastIndexByte(before, '\n')
}

// bounded is n, or 0 and a refusal if no job can have as many tasks.
func (r *reader) bounded(field string, n int64) int32 {
	if n > spec.MaxTasks || n > math.MaxInt32 {
		r.fatal("bad-min", field, "", "%d pods, at most %d", n, spec.MaxTasks)
		return 0
	}
	return int32(n)
}
