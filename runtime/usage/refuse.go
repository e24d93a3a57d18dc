package usage

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/gpuprobe/wire"
)

// Limits of what one node may say: far above what a node has (16 GPUs of 7 MIG instances
// each), and low enough that a node that lies about itself costs little.
const (
	MaxMessage = 1 << 20 // bytes of one report
	MaxGPUs    = 256     // with MIG instances
	MaxUses    = 4096
	MaxSources = 16
	MaxText    = 256 // bytes of a name, UUID or reason
	MaxOwner   = 512 // bytes of an owner, which may be "pod:", a namespace and a pod's name of 253
	MaxDetail  = 1024
	maxAge     = 10 * 365 * 24 * 3600 * spec.Second // of idleness and watching
)

// Refusal is a report or a stream that is not believed. Nothing of it was taken in.
type Refusal struct {
	Code string // stable: other-node, busy-range, …; Stats counts by it
	Text string
}

func (e *Refusal) Error() string { return e.Text + " [" + e.Code + "]" }

func refuse(code, format string, args ...any) *Refusal {
	return &Refusal{code, fmt.Sprintf(format, args...)}
}

// check holds a report to what can be said of it alone.
func check(node string, r *wire.NodeReport) *Refusal {
	switch {
	case r.GetNode() != node:
		return refuse("other-node", "node %s reports as node %s; a probe speaks for its own node only", node, clip(r.GetNode()))
	case len(r.GetGpus()) > MaxGPUs || len(r.GetGoneGpus()) > MaxGPUs:
		return refuse("too-many-gpus", "node %s: a report of more than %d GPUs", node, MaxGPUs)
	case len(r.GetUses()) > MaxUses || len(r.GetGoneUses()) > MaxUses:
		return refuse("too-many-uses", "node %s: a report of more than %d uses", node, MaxUses)
	case len(r.GetSources()) > MaxSources:
		return refuse("too-many-sources", "node %s: more than %d sources", node, MaxSources)
	}
	c := checker{node: node}
	c.text("boot_id", r.GetBootId(), MaxText)
	for _, s := range r.GetSources() {
		c.source(s)
	}
	for _, g := range r.GetGpus() {
		c.gpu(g)
	}
	for _, u := range r.GetUses() {
		c.use(u)
	}
	for _, uuid := range r.GetGoneGpus() {
		c.text("gone_gpus", uuid, MaxText)
	}
	c.distinct(r)
	return c.err
}

// checker keeps the first thing that is wrong.
type checker struct {
	node string
	err  *Refusal
}

func (c *checker) wrong(code, format string, args ...any) {
	if c.err == nil {
		c.err = refuse(code, "node %s: "+format, append([]any{c.node}, args...)...)
	}
}

func (c *checker) text(field, s string, limit int) {
	switch {
	case len(s) > limit:
		c.wrong("too-long", "%s of %d bytes; %d is the limit", field, len(s), limit)
	case !utf8.ValidString(s):
		c.wrong("not-utf8", "%s is not UTF-8", field)
	}
}

func (c *checker) named(field, s string, limit int) {
	if s == "" {
		c.wrong("no-name", "%s is empty", field)
	}
	c.text(field, s, limit)
}

func (c *checker) permille(field string, v *uint32) {
	if v != nil && *v > 1000 {
		c.wrong("permille-range", "%s is %d permille", field, *v)
	}
}

func (c *checker) age(field string, ms uint64) {
	if ms > uint64(maxAge/millisecond) {
		c.wrong("time-range", "%s is %d ms, longer than ten years", field, ms)
	}
}

func (c *checker) source(s *wire.Source) {
	c.named("source.name", s.GetName(), MaxText)
	c.text("source.reason", s.GetReason(), MaxText)
	c.text("source.detail", s.GetDetail(), MaxDetail)
}

func (c *checker) gpu(g *wire.Gpu) {
	if g == nil {
		c.wrong("no-name", "a GPU that is nothing")
		return
	}
	c.named("gpu.uuid", g.GetUuid(), MaxText)
	c.permille("gpu.busy", g.Busy)
	c.permille("gpu.sm", g.Sm)
	for _, s := range []string{g.GetHealthReason(), g.GetParent(), g.GetProduct(), g.GetClique()} {
		c.text("text of a GPU", s, MaxText)
	}
}

func (c *checker) use(u *wire.Use) {
	if u == nil {
		c.wrong("no-name", "a use that is nothing")
		return
	}
	c.named("use.owner", u.GetOwner(), MaxOwner)
	c.named("use.gpu", u.GetGpu(), MaxText)
	c.permille("use.busy", u.Busy)
	c.age("use.idle_ms", u.GetIdleMs())
	c.age("use.watched_ms", u.GetWatchedMs())
	c.age("use.no_launch_ms", u.GetNoLaunchMs())
	c.text("use.namespace", u.GetNamespace(), MaxText)
	c.text("use.pod", u.GetPod(), MaxText)
}

// distinct finds GPUs and uses that a report names twice.
func (c *checker) distinct(r *wire.NodeReport) {
	if c.err != nil {
		return
	}
	gpus := make(map[string]bool, len(r.GetGpus()))
	for _, g := range r.GetGpus() {
		if gpus[g.GetUuid()] {
			c.wrong("twice", "GPU %s is named twice", g.GetUuid())
		}
		gpus[g.GetUuid()] = true
	}
	uses := make(map[[2]string]bool, len(r.GetUses()))
	for _, u := range r.GetUses() {
		key := [2]string{u.GetOwner(), u.GetGpu()}
		if uses[key] {
			c.wrong("twice", "use of GPU %s by %s is named twice", key[1], key[0])
		}
		uses[key] = true
	}
}

// clip makes what came from outside fit for a log.
func clip(s string) string {
	return fmt.Sprintf("%.64q", strings.ToValidUTF8(s, "?"))
}
