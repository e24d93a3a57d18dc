package groups

import (
	"strings"
	"sync"
)

// parsed remembers task groups by their text. KubeRay writes the same text on each pod of
// a cluster: a scheduler that starts anew reads it once in place of thousands of times,
// and the pods share the groups. What it hands out is not to be changed.
var parsed = memo{most: 4 << 20}

// memo forgets all when its texts have become too long together.
type memo struct {
	mu    sync.Mutex
	known map[string]declaration
	size  int // of the texts in known
	most  int
}

// declaration is what a text of task groups says.
type declaration struct {
	groups   []Group
	problems []Problem
}

// taskGroups is parseTaskGroups.
func (m *memo) taskGroups(text string) declaration {
	m.mu.Lock()
	d, ok := m.known[text]
	m.mu.Unlock()
	if ok {
		return d
	}
	d.groups, d.problems = parseTaskGroups(text)
	if len(text) > m.most/16 {
		return d
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil || m.size+len(text) > m.most {
		m.known, m.size = map[string]declaration{}, 0
	}
	m.known[strings.Clone(text)] = d
	m.size += len(text)
	return d
}
