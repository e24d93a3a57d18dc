package mirror_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/kube/act"
	"github.com/musterhq/muster/runtime/kube/groups"
	"github.com/musterhq/muster/runtime/kube/mirror"
	"github.com/musterhq/muster/runtime/kube/pods"
	"github.com/musterhq/muster/runtime/ledger"
	"github.com/musterhq/muster/runtime/loop"
)

// cluster is an API server of the mind: it binds and deletes as asked, at once, and tells
// the mirror.
type cluster struct {
	t    testing.TB
	m    *mirror.Mirror
	l    *loop.Loop
	now  time.Time
	pods map[types.UID]*corev1.Pod
	made int
	work act.Work // all that was asked for, in order
	todo act.Work
	// slow keeps binds from being carried out; failing has pods whose binds fail.
	slow    bool
	twice   bool // a pod may be asked for while a bind of it is under way
	failing map[string]error
	stuck   map[string]bool // pods that can't be evicted
	awaited []string        // what probes were asked to watch
	stay    bool            // pods stay on GPUs that failed
	// deleted is called with each pod that is gone: a controller may make another.
	deleted   func(*corev1.Pod)
	refused   []string
	groups    groups.Table
	objects   pods.Objects
	making    map[string]bool             // queues that are being made
	asked     int                         // how often it was said that all jobs have asked for theirs
	groupSaid map[groups.Key]groups.State // how group objects were last said to stand

	// meanwhile happens once, while the next plan is made.
	meanwhile func()
	tree      spec.Tree
	machines  []*corev1.Node
}

type nothing struct{}

func (nothing) Namespace(string) *corev1.Namespace                 { return nil }
func (nothing) Claim(string, string) *corev1.PersistentVolumeClaim { return nil }
func (nothing) Volume(string) *corev1.PersistentVolume             { return nil }
func (nothing) VolumesOf(string) []*corev1.PersistentVolume        { return nil }
func (nothing) Class(string) *storagev1.StorageClass               { return nil }
func (nothing) HasNode(string) bool                                { return true }
func (nothing) NodesWith(string, string) []string                  { return nil }

// now is a clock that stands still unless the test moves it.
type ticking struct{ c *cluster }

func (t ticking) Now() int64              { return t.c.now.UnixNano() }
func (t ticking) Wake(int64) <-chan int64 { return make(chan int64) }

var _ clock.Clock = ticking{}

func queue(name string, guaranteed, most int64) *spec.Queue {
	q := &spec.Queue{Name: name}
	if guaranteed > 0 {
		q.Guaranteed = spec.GPUs(guaranteed)
	}
	if most > 0 {
		q.Max = spec.GPUs(most)
	}
	return q
}

func newCluster(t testing.TB, queues ...*spec.Queue) *cluster {
	t.Helper()
	c := &cluster{t: t, now: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), pods: map[types.UID]*corev1.Pod{}, failing: map[string]error{}, objects: nothing{}}
	if len(queues) == 0 {
		queues = []*spec.Queue{queue("a", 0, 0)}
	}
	c.tree = spec.Tree{Root: &spec.Queue{Name: "root", Children: queues}}
	c.restart(c.tree)
	return c
}

// during lets something happen once while a plan is made.
type during struct{ c *cluster }

func (during) Digest() string { return "all" }

func (d during) Judge(_ context.Context, jobs []*spec.Job) []cycle.Verdict {
	if f := d.c.meanwhile; f != nil {
		d.c.meanwhile = nil
		f()
	}
	return make([]cycle.Verdict, len(jobs))
}

// crash ends the scheduler at this moment, whatever it was about to do, and starts
// another one, which reads what it had recorded.
func (c *cluster) crash() {
	intended := c.todo.Units
	c.todo = act.Work{}
	c.restart(c.tree)
	for _, n := range c.machines {
		c.m.NodeChanged(n)
	}
	c.begin(slices.DeleteFunc(intended, func(u act.Unit) bool { return !u.Gang })...)
}

// restart begins anew with an empty mirror, as a scheduler does that comes to lead.
func (c *cluster) restart(tree spec.Tree) {
	c.m = mirror.New(mirror.Options{
		Schedulers: []string{"muster", "yunikorn"},
		Post:       func(evs ...ledger.Event) uint64 { return c.l.Post(evs...) },
		Applied:    func() uint64 { return c.l.Applied() },
		Do:         c.do,
		Objects:    c.objects, Groups: &c.groups,
		Queue: func(i groups.Info, _ string) (string, *pods.Problem) {
			if i.Queue == "nowhere" {
				return "", &pods.Problem{Code: "no-queue", Text: "queue nowhere is not there", Fatal: true}
			}
			queue := strings.TrimPrefix(max(i.Queue, "a"), "root.")
			if c.making[queue] {
				return "", &pods.Problem{Code: "queue-being-created", Text: "it is being made"}
			}
			return "root." + queue, nil
		},
		Asked: func() { c.asked++ },
		Group: func(k groups.Key, s groups.State) {
			if c.groupSaid == nil {
				c.groupSaid = map[groups.Key]groups.State{}
			}
			c.groupSaid[k] = s
		},
		Now: func() time.Time { return c.now }, StayOnFailedGPUs: c.stay,
		Await: func(node string, owners []string) { c.awaited = append(c.awaited, node+": "+strings.Join(owners, " ")) },
	})
	c.l = loop.New(ledger.New(tree), cycle.Set{Admission: during{c}}, c.m, ticking{c})
	c.l.Listen(func(turn loop.Turn) {
		for _, err := range turn.Refused {
			c.refused = append(c.refused, err.Error())
			var r *loop.Refusal
			if errors.As(err, &r) {
				c.m.Refused(r.Event, r.Err)
			}
		}
	})
}

func (c *cluster) begin(intended ...act.Unit) {
	for _, p := range c.pods {
		c.m.PodChanged(p)
	}
	c.m.Begin(intended)
	c.settle()
}

func (c *cluster) do(w act.Work) {
	for _, all := range []*act.Work{&c.work, &c.todo} {
		all.Units = append(all.Units, w.Units...)
		all.Notices = append(all.Notices, w.Notices...)
		all.Withdraws = append(all.Withdraws, w.Withdraws...)
		all.Evicts = append(all.Evicts, w.Evicts...)
		all.Waiting = append(all.Waiting, w.Waiting...)
		all.Events = append(all.Events, w.Events...)
	}
}

// settle lets everything happen that does without the clock.
func (c *cluster) settle() {
	c.t.Helper()
	for range 200 {
		c.m.Flush()
		c.l.Turn(context.Background())
		if !c.act() && !c.l.Busy() {
			c.m.Flush()
			if !c.l.Busy() {
				return
			}
		}
	}
	c.t.Fatalf("it does not settle: %d units, %d evictions asked for", len(c.work.Units), len(c.work.Evicts))
}

// act carries out what was asked for.
func (c *cluster) act() bool {
	todo := c.todo
	c.todo = act.Work{}
	if c.slow {
		c.todo.Units, todo.Units = todo.Units, nil
	}
	for _, u := range todo.Units {
		for _, b := range u.Binds {
			c.bind(u.Job, b)
		}
	}
	for _, e := range todo.Evicts {
		if c.stuck[e.Pod.Name] {
			c.m.EvictFailed(e.Job, e.Pod, errors.New("a budget"))
			continue
		}
		c.delete(c.pods[e.Pod.UID])
	}
	return len(todo.Units)+len(todo.Evicts) > 0
}

func (c *cluster) bind(job string, b act.Bind) {
	p := c.pods[b.Pod.UID]
	switch {
	case p == nil:
		c.m.BindFailed(job, b.Task, b.Pod, b.Node, fmt.Errorf("not found"), true)
		return
	case c.failing[p.Name] != nil:
		c.m.BindFailed(job, b.Task, b.Pod, b.Node, c.failing[p.Name], false)
		return
	case p.Spec.NodeName != "" && c.twice:
		c.m.BindFailed(job, b.Task, b.Pod, b.Node, fmt.Errorf("pod %s is already bound to node %s", p.Name, p.Spec.NodeName), false)
		return
	case p.DeletionTimestamp != nil:
		c.m.BindFailed(job, b.Task, b.Pod, b.Node, fmt.Errorf("pod %s is being deleted", p.Name), true)
		return
	case p.Spec.NodeName != "":
		c.t.Fatalf("pod %s is bound to %s and is to be bound to %s", p.Name, p.Spec.NodeName, b.Node)
	}
	if err := c.m.Admit(b); err != nil {
		c.m.BindFailed(job, b.Task, b.Pod, b.Node, err, false)
		return
	}
	p = p.DeepCopy()
	p.Spec.NodeName = b.Node
	p.Status.Phase = corev1.PodRunning
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(c.now),
	})
	c.pods[p.UID] = p
	c.m.Bound(job, b.Task, b.Pod, b.Node)
	c.m.PodChanged(p)
}

func (c *cluster) delete(p *corev1.Pod) {
	if p == nil {
		return
	}
	delete(c.pods, p.UID)
	c.m.PodDeleted(p)
	if c.deleted != nil {
		c.deleted(p)
	}
}

// pass lets time go by, a second at a time.
func (c *cluster) pass(d time.Duration) {
	for end := c.now.Add(d); c.now.Before(end); {
		c.now = c.now.Add(time.Second)
		c.m.Sweep()
		c.settle()
	}
}

func (c *cluster) nodes(n, gpus int) {
	for i := range n {
		c.node(fmt.Sprintf("n%d", i), gpus)
	}
}

func (c *cluster) node(name string, gpus int) {
	c.machines = append(c.machines, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status: corev1.NodeStatus{
			Allocatable: corev1.ResourceList{
				"cpu": resource.MustParse("64"), "memory": resource.MustParse("256Gi"), "pods": resource.MustParse("110"),
				"nvidia.com/gpu": *resource.NewQuantity(int64(gpus), resource.DecimalSI),
			},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	})
	c.m.NodeChanged(c.machines[len(c.machines)-1])
}

// change makes a pod different before it is told.
type change func(*corev1.Pod)

func label(k, v string) change { return func(p *corev1.Pod) { p.Labels[k] = v } }

func annotation(k, v string) change { return func(p *corev1.Pod) { p.Annotations[k] = v } }

func owned(kind, name string) change {
	yes := true
	return func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "x/v1", Kind: kind, Name: name, UID: types.UID(name), Controller: &yes}}
	}
}

func of(scheduler string) change { return func(p *corev1.Pod) { p.Spec.SchedulerName = scheduler } }

func on(node string) change {
	return func(p *corev1.Pod) { p.Spec.NodeName, p.Status.Phase = node, corev1.PodRunning }
}

// pod makes a pod that asks for GPUs and tells of it.
func (c *cluster) pod(name string, gpus int, changes ...change) *corev1.Pod {
	c.made++
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "team", Name: name, UID: types.UID(fmt.Sprintf("%s-%d", name, c.made)),
			Labels: map[string]string{}, Annotations: map[string]string{},
			CreationTimestamp: metav1.NewTime(c.now.Add(time.Duration(c.made)*time.Millisecond - time.Minute)),
		},
		Spec: corev1.PodSpec{SchedulerName: "muster", Containers: []corev1.Container{{Name: "main", Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{"cpu": resource.MustParse("1"), "nvidia.com/gpu": *resource.NewQuantity(int64(gpus), resource.DecimalSI)},
		}}}},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	for _, f := range changes {
		f(p)
	}
	c.pods[p.UID] = p
	c.m.PodChanged(p)
	return p
}

// change tells of a pod that became different.
func (c *cluster) change(p *corev1.Pod, changes ...change) {
	p = c.pods[p.UID].DeepCopy()
	for _, f := range changes {
		f(p)
	}
	c.pods[p.UID] = p
	c.m.PodChanged(p)
}

func ended(phase corev1.PodPhase) change { return func(p *corev1.Pod) { p.Status.Phase = phase } }

// bound lists the pods that are bound, as "pod@node" or by name alone.
func (c *cluster) bound() string {
	var names []string
	for _, p := range c.pods {
		if p.Spec.NodeName != "" && p.Status.Phase == corev1.PodRunning {
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func (c *cluster) expect(bound string) {
	c.t.Helper()
	c.settle()
	if got := c.bound(); got != bound {
		c.t.Fatalf("bound: %q, want %q\nwaiting: %v\nrefused: %q", got, bound, c.waiting(), c.refused)
	}
	for _, r := range c.refused {
		c.t.Errorf("the ledger refused: %s", r)
	}
}

// waiting is what each unbound pod was told last.
func (c *cluster) waiting() map[string]string {
	out := map[string]string{}
	for _, w := range c.work.Waiting {
		if p := c.pods[w.Pod.UID]; p != nil && p.Spec.NodeName == "" {
			out[p.Name] = w.Code
			if w.Capacity {
				out[p.Name] += "!"
			}
			if testing.Verbose() {
				out[p.Name+" "] = w.Text
			}
		}
	}
	return out
}

var empty act.Work
