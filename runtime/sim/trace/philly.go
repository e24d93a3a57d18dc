package trace

import (
	"fmt"
	"slices"
	"strings"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

// phillyVCs are the nodes of 8 GPUs of each virtual cluster (HeliosArtifact's
// table), 352 in all. A table beside the jobs overrides them.
var phillyVCs = []share{
	{"6214e9", 64},
	{"7f04ca", 32},
	{"11cb48", 16},
	{"b436b2", 64},
	{"ee9e8c", 64},
	{"e13805", 16},
	{"6c71a0", 32},
	{"2869ce", 16},
	{"ed69ec", 8},
	{"103959", 8},
	{"0e4a51", 32},
}

// share is a queue's part of a pool; its name is fit for a queue.
type share struct {
	name  string
	nodes int64
}

const (
	phillyNodes = 88 // a quarter of the 352
	phillyGPUs  = 8
)

// parsePhilly reads the Philly job list (Jeon et al., USENIX ATC 2019). Each
// virtual cluster is a queue whose guarantee is its part of the nodes, in whole
// GPUs, and which has no max; jobs of clusters outside the table are dropped
// and counted.
func parsePhilly(src source, o Options, ps *Problems) *Trace {
	vcs := phillyVCs
	table := o.QueueFile
	if table == "" {
		table, _ = sibling(src.name, "philly_vc_nodes.csv")
	}
	if table != "" {
		tableSrc, ok := readSource(table, ps)
		if !ok {
			return nil
		}
		vcs = readPhillyVCs(tableSrc, ps)
	}
	var warmup source
	if o.WarmupFile != "" {
		var ok bool
		if warmup, ok = readSource(o.WarmupFile, ps); !ok {
			return nil
		}
	}
	return readPhilly(src, warmup, vcs, o, ps)
}

func readPhillyVCs(src source, ps *Problems) []share {
	var out []share
	for s := openSheet(src, ps, []string{"vc", "node num"}, nil); s.next(); {
		c, ok := ps.require(s, "vc")
		c.text = queueName(c.text)
		if slices.ContainsFunc(out, func(v share) bool { return v.name == c.text }) {
			ps.at(c, CodeDuplicate, fmt.Sprintf("virtual cluster %q is there twice", clip(c.text)), "")
			continue
		}
		n := ps.integer(s, "node num", 0, 1, maxCount)
		if ok {
			out = append(out, share{c.text, n})
		}
	}
	if len(out) == 0 && ps.Total == 0 {
		ps.file(src.name, CodeEmpty, "no virtual clusters", "columns are vc, node num")
	}
	return out
}

func readPhilly(src, warmup source, vcs []share, o Options, ps *Problems) *Trace {
	t := &Trace{}
	nodes, perNode := orElse(o.Nodes, phillyNodes), orElse(o.GPUsPerNode, phillyGPUs)
	t.Nodes = nodesOf(nodes, perNode)
	t.Queues.Root = sharedQueues(vcs, nodes*perNode)
	known := map[string]bool{}
	for _, v := range vcs {
		known[v.name] = true
	}
	r := phillyReader{ps: ps, known: known, perNode: perNode, dropped: map[string]int{}}
	if warmup.name != "" {
		r.read(warmup, "warm", true)
	}
	r.read(src, "j", false)
	t.Jobs = r.jobs
	t.note(fmt.Sprintf("quotas: %d GPUs divided by the nodes of %d virtual clusters; no max", nodes*perNode, len(vcs)))
	if r.warm > 0 {
		t.note(fmt.Sprintf("%d warm-up jobs load the cluster and count in no per-job metric", r.warm))
	}
	for _, vc := range sortedKeys(r.dropped) {
		t.note(fmt.Sprintf("dropped %d jobs of virtual cluster %s, which has no nodes", r.dropped[vc], vc))
	}
	return t
}

type phillyReader struct {
	ps      *Problems
	known   map[string]bool
	perNode int64
	jobs    []Job
	warm    int
	dropped map[string]int
}

func (r *phillyReader) read(src source, prefix string, warmup bool) {
	for s := openSheet(src, r.ps, []string{"submit_s", "duration_s", "num_gpus", "vc"}, nil); s.next(); {
		vc, ok := r.ps.require(s, "vc")
		vc.text = queueName(vc.text)
		j := Job{Warmup: warmup, Run: r.ps.seconds(s, "duration_s")}
		j.Submit = r.ps.signedSeconds(s, "submit_s")
		j.Tasks = []spec.TaskGroup{gangOf(r.ps.integer(s, "num_gpus", 1, 1, maxCount), r.perNode)}
		switch {
		case !ok:
		case !r.known[vc.text]:
			r.dropped[vc.text]++
		default:
			j.ID, j.Queue = fmt.Sprintf("%s%06d", prefix, s.rows), "root."+vc.text
			r.jobs = append(r.jobs, j)
			if warmup {
				r.warm++
			}
		}
	}
}

// signedSeconds reads seconds that may lie before the file's zero.
func (p *Problems) signedSeconds(r record, name string) spec.Time {
	c, ok := p.require(r, name)
	if !ok {
		return 0
	}
	return p.decimal(c, nanoDigits, -maxSeconds*spec.Second, maxSeconds*spec.Second)
}

// sharedQueues divides gpus by the parts, rounding down to whole GPUs.
func sharedQueues(parts []share, gpus int64) *spec.Queue {
	var total int64
	for _, p := range parts {
		total += p.nodes
	}
	root := &spec.Queue{Name: "root", Parent: true}
	for _, p := range parts {
		g := int64(amount.Amount(gpus).Scale(amount.Amount(p.nodes), amount.Amount(total)))
		root.Children = append(root.Children, &spec.Queue{Name: p.name, Guaranteed: spec.GPUs(g)})
	}
	return root
}

// queueName replaces what a queue name may not have.
func queueName(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, s)
}

func orElse(v, def int64) int64 {
	if v > 0 {
		return v
	}
	return def
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
