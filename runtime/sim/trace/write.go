package trace

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

// ErrUnwritable is wrapped when a trace has what Muster's own forms cannot say:
// no root queue, jobs of several task groups, or negative times.
var ErrUnwritable = errors.New("the trace cannot be written in this form")

// field is one value to be written; an empty one is left out.
type field struct{ name, value string }

// WriteCSV writes jobs.csv, nodes.csv and queues.csv into a folder, which it
// makes. Name, End and Static are not in this form.
func WriteCSV(dir string, t *Trace) error {
	if err := writable(t); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the trace folder: %w", err)
	}
	var nodes, queues, jobs [][]field
	for i := range t.Nodes {
		nodes = append(nodes, nodeFields(&t.Nodes[i]))
	}
	walkQueues(t.Queues.Root, "", func(q *spec.Queue, path, parent string) {
		queues = append(queues, slices.Concat([]field{{"queue", path}, {"parent", parent}}, quotaFields(q), idleFields("idle_after", "idle_grace", q)))
	})
	for i := range t.Jobs {
		jobs = append(jobs, jobFields(&t.Jobs[i]))
	}
	return errors.Join(
		writeTable(filepath.Join(dir, "nodes.csv"), nodeColumns, nodes),
		writeTable(filepath.Join(dir, "queues.csv"), without(queueColumns, queues, "idle_after", "idle_grace"), queues),
		writeTable(filepath.Join(dir, "jobs.csv"), without(jobColumns, jobs, "use"), jobs))
}

// without leaves out those of some columns in which no row has a value.
func without(columns []string, rows [][]field, rare ...string) []string {
	return slices.DeleteFunc(slices.Clone(columns), func(c string) bool {
		return slices.Contains(rare, c) && !slices.ContainsFunc(rows, func(row []field) bool {
			return slices.ContainsFunc(row, func(f field) bool { return f.name == c && f.value != "" })
		})
	})
}

func writeTable(path string, columns []string, rows [][]field) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write the trace: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := csv.NewWriter(f)
	_ = w.Write(columns) // the error stays in the writer
	row := make([]string, len(columns))
	for _, fields := range rows {
		clear(row)
		for _, v := range fields {
			if i := slices.Index(columns, v.name); i >= 0 {
				row[i] = v.value
			}
		}
		_ = w.Write(row)
	}
	w.Flush()
	return w.Error()
}

// WriteYAML writes Muster's YAML form. Nodes that are alike and numbered in a
// row become one entry with a count.
func WriteYAML(w io.Writer, t *Trace) error {
	if err := writable(t); err != nil {
		return err
	}
	b := bufio.NewWriter(w)
	_, _ = fmt.Fprintf(b, "muster: %s\n", yamlVersion) // errors stay in b
	if t.Name != "" {
		_, _ = fmt.Fprintf(b, "name: %s\n", yamlText(t.Name))
	}
	if t.End > 0 {
		_, _ = fmt.Fprintf(b, "end_s: %s\n", seconds(t.End))
	}
	if t.Static {
		_, _ = b.WriteString("static: true\n")
	}
	_, _ = b.WriteString("nodes:\n")
	for i := 0; i < len(t.Nodes); {
		n := t.Nodes[i]
		prefix, count := numberedRun(t.Nodes[i:])
		fields := nodeFields(&n)
		if count > 1 {
			fields[0].value = prefix
			fields = append(fields, field{"count", strconv.Itoa(count)})
		}
		writeEntry(b, "  ", fields)
		i += count
	}
	_, _ = b.WriteString("queues:\n")
	writeYAMLQueue(b, t.Queues.Root, "  ")
	_, _ = b.WriteString("jobs:\n")
	for i := range t.Jobs {
		writeEntry(b, "  ", jobFields(&t.Jobs[i]))
	}
	return b.Flush()
}

func writeYAMLQueue(b *bufio.Writer, q *spec.Queue, indent string) {
	writeEntry(b, indent, append([]field{{"name", q.Name}}, quotaFields(q)...))
	lead := indent + "  preemption:\n"
	for _, f := range idleFields("idleAfter", "idleGrace", q) {
		if f.value != "" {
			_, _ = b.WriteString(lead + indent + "    " + f.name + ": " + f.value + "\n")
			lead = ""
		}
	}
	if len(q.Children) == 0 {
		return
	}
	_, _ = b.WriteString(indent + "  children:\n")
	for _, c := range q.Children {
		writeYAMLQueue(b, c, indent+"    ")
	}
}

func writeEntry(b *bufio.Writer, indent string, fields []field) {
	lead := indent + "- "
	for _, f := range fields {
		if f.value != "" {
			_, _ = b.WriteString(lead + f.name + ": " + yamlScalar(f) + "\n")
			lead = indent + "  "
		}
	}
}

// yamlScalar quotes names that YAML would read as something else; figures and
// booleans are written plain.
func yamlScalar(f field) string {
	switch f.name {
	case "job", "queue", "user", "node", "gpu_type", "gpu_types", "name", "use":
		return yamlText(f.value)
	}
	return f.value
}

// numberedRun is how many of the first nodes are alike but for a number in
// their names, and the part before it: what `count` makes again.
func numberedRun(nodes []spec.Node) (prefix string, count int) {
	first := nodes[0]
	prefix = strings.TrimRight(first.Name, "0")
	for ; len(prefix) < len(first.Name); prefix += "0" {
		n := 1
		for n < len(nodes) && sameNode(&first, &nodes[n]) && strings.HasPrefix(nodes[n].Name, prefix) {
			n++
		}
		for ; n > 1; n-- {
			if matchesRun(nodes[:n], prefix) {
				return prefix, n
			}
		}
	}
	return first.Name, 1
}

// matchesRun compares the last and the first names before all others: most
// wrong counts fail there, by width.
func matchesRun(nodes []spec.Node, prefix string) bool {
	n := int64(len(nodes))
	if nodes[n-1].Name != numbered(prefix, n-1, n) || nodes[0].Name != numbered(prefix, 0, n) {
		return false
	}
	for i := range nodes {
		if nodes[i].Name != numbered(prefix, int64(i), n) {
			return false
		}
	}
	return true
}

func sameNode(a, b *spec.Node) bool {
	return a.GPUType == b.GPUType && slices.Equal(a.Capacity, b.Capacity)
}

func walkQueues(q *spec.Queue, parent string, visit func(q *spec.Queue, path, parent string)) {
	path := strings.TrimPrefix(parent+"."+q.Name, ".")
	visit(q, path, parent)
	for _, c := range q.Children {
		walkQueues(c, path, visit)
	}
}

func nodeFields(n *spec.Node) []field {
	return append([]field{{"node", n.Name}, {"gpus", gpus(n.Capacity, false)}, {"gpu_type", n.GPUType}}, otherResources(n.Capacity)...)
}

func quotaFields(q *spec.Queue) []field {
	return []field{{"guaranteed", gpus(q.Guaranteed, true)}, {"max", gpus(q.Max, true)}, {"weight", positive(q.Weight)}}
}

func idleFields(after, grace string, q *spec.Queue) []field {
	return []field{{after, durationText(q.IdleAfter)}, {grace, durationText(q.IdleGrace)}}
}

func jobFields(j *Job) []field {
	g := &j.Tasks[0]
	f := []field{
		{"job", j.ID},
		{"queue", j.Queue},
		{"user", j.User},
		{"submit_s", seconds(j.Submit)},
		{"workers", strconv.FormatInt(g.Size, 10)},
		{"gpus_per_worker", gpus(g.Request, true)},
		{"duration_s", optional(j.Run)},
		{"declared_s", optional(j.Duration)},
		{"gpu_types", strings.Join(g.GPUTypes, "|")},
		{"checkpoint_s", optional(j.CheckpointEvery)},
		{"notice_s", optional(j.Notice)},
		{"deadline_s", optional(j.Deadline)},
		{"restart_s", optional(j.RestartCost)},
	}
	f = append(f, otherResources(g.Request)...)
	if j.Priority != 0 {
		f = append(f, field{"priority", strconv.FormatInt(j.Priority, 10)})
	}
	if g.Min != g.Size {
		f = append(f, field{"min_workers", strconv.FormatInt(g.Min, 10)})
	}
	if j.NonPreemptible {
		f = append(f, field{"preemptible", "false"})
	}
	if j.Warmup {
		f = append(f, field{"warmup", "true"})
	}
	return append(f, field{"use", j.Use.String()})
}

func otherResources(r spec.Resources) []field {
	var f []field
	if a, ok := r.Get(amount.CPUName); ok {
		f = append(f, field{"cpu_milli", strconv.FormatInt(int64(a), 10)})
	}
	if a, ok := r.Get(amount.MemoryName); ok {
		f = append(f, field{"memory_mib", strconv.FormatInt(int64(a>>20), 10)})
	}
	return f
}

// gpus is the GPU amount as a decimal number; absent is "" or 0.
func gpus(r spec.Resources, mayLack bool) string {
	a, ok := r.Get(amount.GPUName)
	if !ok && mayLack {
		return ""
	}
	return decimalText(int64(a), 3)
}

func seconds(t spec.Time) string { return decimalText(t, nanoDigits) }

func optional(d spec.Duration) string {
	if d == 0 {
		return ""
	}
	return seconds(d)
}

// durationText is a duration with its unit, or never.
func durationText(d spec.Duration) string {
	switch {
	case d < 0:
		return "never"
	case d == 0:
		return ""
	}
	return time.Duration(d).String()
}

func positive(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// decimalText is n / 10^digits without trailing zeros, for n >= 0.
func decimalText(n int64, digits int) string {
	s := fmt.Sprintf("%0*d", digits+1, n)
	frac := strings.TrimRight(s[len(s)-digits:], "0")
	if frac == "" {
		return s[:len(s)-digits]
	}
	return s[:len(s)-digits] + "." + frac
}

func writable(t *Trace) error {
	if t.Queues.Root == nil || t.Queues.Root.Name != "root" {
		return fmt.Errorf("%w: it has no root queue", ErrUnwritable)
	}
	for i := range t.Jobs {
		if j := &t.Jobs[i]; len(j.Tasks) != 1 || j.Submit < 0 {
			return fmt.Errorf("%w: job %s has %d task groups and submit %d", ErrUnwritable, j.ID, len(j.Tasks), j.Submit)
		}
	}
	return nil
}
