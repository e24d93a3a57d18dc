package conformance

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/policies"
)

func withPolicy(named map[string]policies.Policy, name string, p policies.Policy) map[string]policies.Policy {
	named = maps.Clone(named)
	named[name] = p
	return named
}

// explain tells why jobs wait, in the words of the last plan that said so.
func (t *Tale) explain(words, _ []string) error {
	return each(words, func(job string) {
		j := t.world().Job(job)
		switch {
		case j == nil:
			t.out.plain("%s is not known\n", job)
		case j.Notes == nil:
			t.out.plain("%s: %s\n", job, t.holds(j))
		default:
			t.out.plain("%s waits: %s\n", job, j.Notes.(*plan.Why).Sentence())
		}
	})
}

// where tells what jobs hold, equal neighbours as one.
func (t *Tale) where(words, _ []string) error {
	var rows [][2]string
	err := each(words, func(job string) {
		text := "not known"
		if j := t.world().Job(job); j != nil {
			text = t.holds(j)
		}
		rows = append(rows, [2]string{job, text})
	})
	t.table(rows)
	return err
}

// table writes names with texts; successive names with one text share a line.
func (t *Tale) table(rows [][2]string) {
	for i := 0; i < len(rows); {
		k := i + 1
		for k < len(rows) && rows[k][1] == rows[i][1] && successor(rows[k-1][0], rows[k][0]) {
			k++
		}
		t.out.plain("%s: %s\n", span(rows[i][0], rows[k-1][0]), rows[i][1])
		i = k
	}
}

func (t *Tale) holds(j *world.Job) string {
	nodes := map[world.State][]string{}
	count := map[world.State]int{}
	for i := range j.Tasks {
		task := &j.Tasks[i]
		count[task.State]++
		if task.Node != world.NoNode {
			nodes[task.State] = append(nodes[task.State], t.world().Nodes[task.Node].Name)
		}
	}
	var parts []string
	words := [...]string{"waiting", "place kept", "running", "leaving", "done", "absent"}
	for _, s := range []world.State{world.Bound, world.Claimed, world.Releasing, world.Pending, world.Done, world.Absent} {
		if count[s] == 0 {
			continue
		}
		text := words[s]
		if len(j.Tasks) > 1 {
			text = fmt.Sprintf("%d %s", count[s], text)
		}
		if len(nodes[s]) > 0 {
			text += " on " + nodesText(nodes[s])
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// freeNodes lists what is free on each node.
func (t *Tale) freeNodes() {
	w := t.world()
	var rows [][2]string
	for _, n := range w.Order() {
		nd := &w.Nodes[n]
		if !nd.Present {
			continue
		}
		text := "no GPUs"
		if capacity, ok := w.Capacity(n).Get(amount.GPU); ok {
			text = fmt.Sprintf("%s of %s GPUs free", formatGPU(w.FreeOf(n, amount.GPU)), formatGPU(capacity))
		}
		if nd.ReservedFor != nil {
			text += ", kept for " + nd.ReservedFor.Spec.ID
		}
		rows = append(rows, [2]string{nd.Name, text})
	}
	t.table(rows)
}

func formatGPU(a amount.Amount) string { return amount.Format(amount.GPUName, a) }

// usage is a table of the queues: guaranteed, max and used of every resource that
// any of them is guaranteed or limited in.
func (t *Tale) usage(_, _ []string) error {
	tree := t.world().Quota
	rows := [][]string{{"queue", "guaranteed", "max", "used"}}
	for q := range tree.Queues {
		rows = append(rows, t.usageRow(quota.Q(q)))
	}
	width := make([]int, 4)
	for _, r := range rows {
		for i, c := range r {
			width[i] = max(width[i], len(c))
		}
	}
	for _, r := range rows {
		t.out.plain("%s\n", strings.TrimRight(fmt.Sprintf("%-*s  %*s  %*s  %*s", width[0], r[0], width[1], r[1], width[2], r[2], width[3], r[3]), " "))
	}
	return nil
}

func (t *Tale) usageRow(q quota.Q) []string {
	tree := t.world().Quota
	a := quota.Account(q)
	row := []string{strings.Repeat("  ", tree.Queues[q].Depth) + tree.Queues[q].Name, "", "", ""}
	for _, d := range t.watched() {
		name := tree.Res.Name(d)
		format := func(v amount.Amount) string {
			if len(t.watched()) == 1 {
				return " " + amount.Format(name, v)
			}
			return " " + shortName(name) + "=" + amount.Format(name, v)
		}
		if g := tree.Guaranteed(q)[d]; g != quota.Unset {
			row[1] += format(g)
			if c := tree.Configured(q)[d]; c != g {
				row[1] += " of" + format(c)
			}
		}
		if m := tree.MaxOf(a)[d]; m != amount.Max {
			row[2] += format(m)
		}
		row[3] += format(tree.Used(a)[d])
	}
	for i, c := range row[1:] {
		if row[i+1] = strings.TrimPrefix(c, " "); row[i+1] == "" {
			row[i+1] = "-"
		}
	}
	return row
}

// watched lists the resources that some queue names, GPUs always, in order of
// their names.
func (t *Tale) watched() []amount.Dim {
	tree := t.world().Quota
	dims := []amount.Dim{amount.GPU}
	for q := range tree.Queues {
		for d := range tree.R() {
			named := tree.Configured(quota.Q(q))[d] != quota.Unset || tree.MaxOf(quota.Account(q))[d] != amount.Max
			if named && !slices.Contains(dims, amount.Dim(d)) {
				dims = append(dims, amount.Dim(d))
			}
		}
	}
	slices.SortFunc(dims, func(a, b amount.Dim) int { return strings.Compare(tree.Res.Name(a), tree.Res.Name(b)) })
	return dims
}
