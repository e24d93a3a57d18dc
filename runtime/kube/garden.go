package kube

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/config/grow"
	"github.com/musterhq/muster/runtime/kube/pods"
	"github.com/musterhq/muster/runtime/kube/route"
)

// Defaults for the queues that placement rules create.
const (
	maxCreated  = 10_000
	idleCreated = 10 * time.Second // YuniKorn's cleaner looks as often
)

// garden keeps the queues that placement rules create: which are wanted, which are there,
// and since when no job is in them. It only keeps the books: Scheduler.regrow changes the
// tree, many queues at a time.
type garden struct {
	most  int           // queues wanted and there
	idle  spec.Duration // how long one stays that no job is in
	knock chan struct{} // holds a token while something is wanted
	log   *slog.Logger

	mu     sync.Mutex
	wanted map[string]*bed   // by path; not in the tree yet
	beds   map[string]*bed   // in the tree
	full   bool              // some queue was refused since there was room last
	told   map[string]string // last, by namespace; of those that something is wrong with
}

// bed is one such queue.
type bed struct {
	leaf  grow.Leaf
	from  []string  // namespaces of its jobs, sorted; of the last ones, if it has none now
	empty spec.Time // since when no job is in it; 0: some is
}

func newGarden(most int, idle time.Duration, log *slog.Logger) *garden {
	return &garden{
		most: cmp.Or(most, maxCreated), idle: int64(cmp.Or(idle, idleCreated)), knock: make(chan struct{}, 1), log: log,
		wanted: map[string]*bed{}, beds: map[string]*bed{}, told: map[string]string{},
	}
}

// wake has the garden looked after; it never blocks.
func (g *garden) wake() {
	select {
	case g.knock <- struct{}{}:
	default:
	}
}

// want asks for a queue, and is what the job that wants it is told meanwhile.
func (g *garden) want(p route.Place, namespace string) *pods.Problem {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.wanted[p.Path]
	if b == nil {
		if len(g.wanted)+len(g.beds) >= g.most {
			if !g.full {
				g.log.Warn("placement rules may create no more queues", "created", len(g.beds), "first refused", p.Path)
			}
			g.full = true
			return &pods.Problem{Code: "too-many-queues", Fatal: true, Text: fmt.Sprintf(
				"queue %s can't be created: placement rules have created %d queues, as many as there may be; it will be when others are empty", p.Path, g.most)}
		}
		b = &bed{}
		g.wanted[p.Path] = b
		g.wake()
	}
	b.leaf = grow.Leaf{Path: p.Path, Below: p.Below}
	if i, has := slices.BinarySearch(b.from, namespace); !has {
		b.from = slices.Insert(b.from, i, namespace)
	}
	return &pods.Problem{Code: "queue-being-created", Text: fmt.Sprintf("queue %s is being created", p.Path)}
}

// survey takes in which queues have jobs, from which namespaces, and returns those that
// have had none for long enough to go.
func (g *garden) survey(now spec.Time, tenants map[string][]string) (idle []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, path := range slices.Sorted(maps.Keys(g.beds)) {
		b := g.beds[path]
		switch from := tenants[path]; {
		case len(from) > 0:
			b.from, b.empty = from, 0
		case g.wanted[path] != nil:
			b.empty = 0
		case b.empty == 0:
			b.empty = now
		case now-b.empty >= g.idle:
			idle = append(idle, path)
		}
	}
	return idle
}

// plan lists the leaves that there should be, sorted by path: those that are there but for
// the ones that go, and those that are wanted. quota is what a namespace's jobs may have.
func (g *garden) plan(gone []string, quota func(namespace string) (grow.Quota, bool)) []grow.Leaf {
	leaves, from := g.list(gone)
	for i := range leaves {
		leaves[i].Quota = grow.Quota{}
		for _, ns := range from[i] {
			if q, has := quota(ns); has {
				leaves[i].Quota = q
				break
			}
		}
	}
	return leaves
}

// list lists the leaves that there should be, and the namespaces of the jobs of each.
func (g *garden) list(gone []string) (leaves []grow.Leaf, from [][]string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := maps.Clone(g.wanted)
	maps.Copy(all, g.beds)
	for _, path := range gone {
		delete(all, path)
	}
	for _, path := range slices.Sorted(maps.Keys(all)) {
		leaves = append(leaves, all[path].leaf)
		from = append(from, slices.Clone(all[path].from))
	}
	return leaves, from
}

// planted takes in that a tree with these leaves holds, of those that were planned: the
// others have no place in it, or were configured since. It says whether any was wanted.
func (g *garden) planted(planned, leaves []grow.Leaf) (wanted bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	beds := make(map[string]*bed, len(leaves))
	for _, l := range leaves {
		b := g.beds[l.Path]
		if b == nil {
			b = cmp.Or(g.wanted[l.Path], &bed{})
		}
		b.leaf = l
		beds[l.Path] = b
	}
	for _, l := range planned {
		wanted = wanted || g.wanted[l.Path] != nil
		delete(g.wanted, l.Path)
	}
	if len(beds) < len(g.beds) {
		g.full = false
	}
	g.beds = beds
	return wanted
}

// count is how many queues are there.
func (g *garden) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.beds)
}

// news says whether a text about an object is new; "" is that nothing is wrong with it.
func (g *garden) news(about, text string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.told[about] == text {
		return false
	}
	g.told[about] = text
	if text == "" {
		delete(g.told, about)
	}
	return true
}
