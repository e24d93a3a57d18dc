package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/config"
	"github.com/musterhq/muster/runtime/kube/groups"
	"github.com/musterhq/muster/runtime/ledger"
	"github.com/musterhq/muster/runtime/loop"
)

func amountOf(n int64) amount.Amount { return amount.Amount(n) }

type noGroups struct{}

func (noGroups) PodGroup(groups.API, string, string) *groups.PodGroup { return nil }
func (noGroups) Run(ctx context.Context) error                        { <-ctx.Done(); return ctx.Err() }
func (noGroups) HasSynced() bool                                      { return true }

// rig is a scheduler that leads, without an API server: its loop takes turns, and its
// queues are tended, only when it is asked to.
type rig struct {
	t       testing.TB
	s       *Scheduler
	trees   int      // how many there were
	refused []string // events that the ledger refused, but for trees
	pods    map[string]*corev1.Pod
}

// testing.TB of a property has no Context.
var background = context.Background()

func newRig(t testing.TB, queues string, o Options) *rig {
	t.Helper()
	r := &rig{t: t, pods: map[string]*corev1.Pod{}}
	o.Client, o.Schedulers, o.Log = fake.NewClientset(), []string{"muster"}, slog.New(slog.DiscardHandler)
	o.Groups = func(func(groups.Key)) Groups { return noGroups{} }
	o.Tree = func(*spec.Tree) { r.trees++ }
	var err error
	if r.s, err = New(o); err != nil {
		t.Fatal(err)
	}
	if err := r.s.apply(background, r.parse(queues)); err != nil {
		t.Fatal(err)
	}
	return r
}

// leads has it come to lead what there is.
func (r *rig) leads() *rig {
	r.t.Helper()
	l, err := r.s.begin(background, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	l.Listen(func(turn loop.Turn) {
		for _, err := range turn.Refused {
			var no *loop.Refusal
			if !errors.As(err, &no) || reflect.TypeOf(no.Event) != reflect.TypeFor[ledger.QueuesChanged]() {
				r.refused = append(r.refused, err.Error())
			}
		}
	})
	r.settle()
	return r
}

func (r *rig) parse(queues string) *spec.Tree {
	r.t.Helper()
	f, problems := config.Parse("queues.yaml", []byte(queues))
	if f == nil {
		r.t.Fatal(problems)
	}
	return &f.Partitions[0].Tree
}

// do does something that waits for the loop.
func (r *rig) do(what func() error) error {
	done := make(chan error, 1)
	go func() { done <- what() }()
	for {
		r.s.mirror.Flush()
		r.s.loop.Turn(background)
		select {
		case err := <-done:
			return err
		default:
		}
	}
}

// tend looks after the queues once.
func (r *rig) tend() {
	r.t.Helper()
	if err := r.do(func() error { _, err := r.s.regrow(background); return err }); err != nil {
		r.t.Fatalf("the queues can't be tended: %v", err)
	}
	r.settle()
}

// settle lets everything happen that does without tending.
func (r *rig) settle() {
	for range 3 {
		r.s.mirror.Flush()
		r.s.loop.Turn(background)
	}
}

func (r *rig) node(name, cpu string) {
	room := corev1.ResourceList{"cpu": resource.MustParse(cpu), "pods": resource.MustParse("10000")}
	r.s.mirror.NodeChanged(&corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status:     corev1.NodeStatus{Allocatable: room, Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
	})
}

// pod makes a pod, which runs if it has a node. Its job is named as it is.
func (r *rig) pod(namespace, name, node string, annotations ...string) {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(namespace + "/" + name), Annotations: map[string]string{}},
		Spec: corev1.PodSpec{SchedulerName: "muster", NodeName: node, Containers: []corev1.Container{{
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("1")}},
		}}},
	}
	for i := 0; i < len(annotations); i += 2 {
		p.Annotations[annotations[i]] = annotations[i+1]
	}
	if node != "" {
		p.Status.Phase = corev1.PodRunning
	}
	r.pods[namespace+"/"+name] = p
	r.s.mirror.PodChanged(p)
}

func (r *rig) delete(key string) {
	r.s.mirror.PodDeleted(r.pods[key])
	delete(r.pods, key)
}

// namespace says what a namespace's annotations are.
func (r *rig) namespace(name string, annotations map[string]string) {
	r.t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}}
	if err := r.s.objects.factory.Core().V1().Namespaces().Informer().GetStore().Add(ns); err != nil {
		r.t.Fatal(err)
	}
}

// queues lists the leaves of the tree that holds.
func (r *rig) queues() (leaves []string) {
	var visit func(q *spec.Queue, path string)
	visit = func(q *spec.Queue, path string) {
		if len(q.Children) == 0 && !q.Parent {
			leaves = append(leaves, path)
		}
		for _, c := range q.Children {
			visit(c, path+"."+c.Name)
		}
	}
	visit(r.s.tree.Root, "root")
	slices.Sort(leaves)
	return leaves
}

func (r *rig) expect(leaves ...string) {
	r.t.Helper()
	if got := r.queues(); !slices.Equal(got, leaves) {
		r.t.Errorf("the leaves are %q, want %q", got, leaves)
	}
	for _, text := range r.refused {
		r.t.Errorf("the ledger refused %s", text)
	}
}

// why is what keeps a job from the scheduler.
func (r *rig) why(job string) string {
	var codes []string
	for _, reason := range r.s.mirror.Explain(job) {
		codes = append(codes, reason.Code+": "+reason.Text)
	}
	return strings.Join(codes, "; ")
}

const byNamespace = `
partitions:
  - name: default
    placementrules: [{name: tag, value: namespace, create: true}]
    queues: [{name: root, submitacl: '*'}]
`

const byUser = `
partitions:
  - name: default
    placementrules:
      - {name: user, create: true, parent: {name: fixed, value: root.users}}
    queues:
      - name: root
        queues:
          - {name: users, parent: true, submitacl: ' staff', childtemplate: {maxapplications: 2, resources: {max: {vcore: 4}}}}
          - {name: other}
`

const ykUser = "yunikorn.apache.org/user.info"

// TestADynamicQueueFromAUserNameWithItsTemplateGoneWhenEmpty is the story of that name.
func TestADynamicQueueFromAUserNameWithItsTemplateGoneWhenEmpty(t *testing.T) {
	r := newRig(t, byUser, Options{IdleCreated: 1}).leads()
	r.pod("team", "a", "", ykUser, `{"user":"Ada.L","groups":["staff"]}`)
	r.settle()
	if why := r.why("team/pod/a"); !strings.HasPrefix(why, "queue-being-created: queue root.users.ada_dot_l") {
		t.Errorf("before the queue is there the job waits for %q", why)
	}
	r.tend()
	r.expect("root.other", "root.users.ada_dot_l")
	if why := r.why("team/pod/a"); why != "" {
		t.Errorf("then for %q", why)
	}
	leaf := r.s.tree.Root.Children[0].Children[0]
	if most, _ := leaf.Max.Get("cpu"); most != 4000 || leaf.MaxApps != 2 {
		t.Errorf("the queue is %+v", leaf)
	}
	r.delete("team/a")
	r.settle()
	r.tend()
	r.expect("root.other", "root.users.ada_dot_l")
	r.tend()
	r.expect("root.other")
}

// TestQueuesComeAndGoWhileNobodyTends but the scheduler itself.
func TestQueuesComeAndGoWhileNobodyTends(t *testing.T) {
	r := newRig(t, byNamespace, Options{IdleCreated: 20 * time.Millisecond}).leads()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() { _ = r.s.loop.Run(ctx) })
	all.Go(func() { _ = r.s.mirror.Run(ctx) })
	all.Go(func() { r.s.tend(ctx) })
	defer all.Wait()
	defer cancel()
	eventually := func(leaves ...string) {
		t.Helper()
		var got []string
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			r.s.mu.Lock()
			got = paths(r.s.grown)
			r.s.mu.Unlock()
			if slices.Equal(got, leaves) {
				return
			}
		}
		t.Fatalf("there are %q, not %q", got, leaves)
	}
	r.pod("red", "a", "")
	r.pod("blue", "b", "")
	eventually("root.blue", "root.red")
	r.delete("red/a")
	eventually("root.blue")
	r.pod("red", "c", "")
	eventually("root.blue", "root.red")
	r.delete("red/c")
	r.delete("blue/b")
	eventually()
}

func TestOfAThousandNamespacesTheTreeChangesOnce(t *testing.T) {
	r := newRig(t, byNamespace, Options{})
	for i := range 1000 {
		r.pod(fmt.Sprint("ns-", i), "a", "")
	}
	before := r.trees
	r.leads()
	if got := len(r.queues()); got != 1000 || r.trees != before+1 {
		t.Errorf("whoever comes to lead has %d queues after %d changes", got, r.trees-before)
	}
	for i := range 1000 {
		r.pod(fmt.Sprint("late-", i), "a", "")
	}
	r.settle()
	before = r.trees
	r.tend()
	if got := len(r.queues()); got != 2000 || r.trees != before+1 {
		t.Errorf("later there are %d queues after %d changes", got, r.trees-before)
	}
	if len(r.refused) > 0 {
		t.Errorf("the ledger refused %q", r.refused[0])
	}
}

func TestWhoeverComesToLeadHasTheSameQueues(t *testing.T) {
	r := newRig(t, byNamespace, Options{}).leads()
	r.node("n1", "1000")
	r.namespace("blue", map[string]string{nsMax: `{"cpu": "7"}`})
	r.pod("red", "a", "n1")
	r.pod("blue", "b", "")
	r.settle()
	r.tend()
	next := newRig(t, byNamespace, Options{})
	next.node("n1", "1000")
	next.namespace("blue", map[string]string{nsMax: `{"cpu": "7"}`})
	next.pod("blue", "b", "")
	next.pod("red", "a", "n1")
	next.leads()
	r.expect("root.blue", "root.red")
	if !reflect.DeepEqual(r.s.tree, next.s.tree) {
		t.Errorf("%+v\nis not\n%+v", next.s.tree.Root, r.s.tree.Root)
	}
	next.expect("root.blue", "root.red")
}

func TestWhoeverComesToLeadMakesTheQueuesFirstThatJobsRunIn(t *testing.T) {
	r := newRig(t, byNamespace, Options{MaxCreated: 1})
	r.node("n1", "1")
	r.pod("blue", "a", "")
	r.pod("red", "b", "n1")
	r.leads()
	r.expect("root.red")
	if why := r.why("blue/pod/a"); !strings.HasPrefix(why, "too-many-queues") {
		t.Errorf("the job that waits is told %q", why)
	}
}

func TestANamespacesQuotaIsItsQueuesAndFollowsIt(t *testing.T) {
	r := newRig(t, byNamespace, Options{}).leads()
	most := func() string {
		a, has := r.s.tree.Root.Children[0].Max.Get("cpu")
		return fmt.Sprint(a, " ", has)
	}
	r.namespace("team", map[string]string{nsMax: `{"cpu": "7"}`})
	r.pod("team", "a", "")
	r.settle()
	r.tend()
	if got := most(); got != "7000 true" {
		t.Errorf("it may have %s", got)
	}
	r.namespace("team", map[string]string{nsMax: `{"cpu": "9"}`})
	r.tend()
	if got := most(); got != "9000 true" {
		t.Errorf("then %s", got)
	}
	r.namespace("team", map[string]string{nsMax: `nine`})
	r.tend()
	if got := most(); got != "0 false" {
		t.Errorf("by something that makes no sense %s", got)
	}
	r.expect("root.team")
}

func TestWhoIsNotInTheACLIsToldAndGetsInWhenItChanges(t *testing.T) {
	r := newRig(t, byUser, Options{}).leads()
	r.pod("team", "a", "", ykUser, `{"user":"eve"}`)
	r.settle()
	r.tend()
	if why := r.why("team/pod/a"); !strings.HasPrefix(why, `acl-denied: user "eve" may not submit to queue root.users`) {
		t.Errorf("eve is told %q", why)
	}
	r.expect("root.other")
	if err := r.do(func() error { return r.s.apply(background, r.parse(strings.Replace(byUser, "' staff'", "'*'", 1))) }); err != nil {
		t.Fatal(err)
	}
	r.settle()
	r.tend()
	r.expect("root.other", "root.users.eve")
}

func TestThereIsRoomForAQueueWhenAnotherHasGone(t *testing.T) {
	r := newRig(t, byNamespace, Options{MaxCreated: 1, IdleCreated: 1}).leads()
	r.pod("red", "a", "")
	r.settle()
	r.tend()
	r.pod("blue", "b", "")
	r.settle()
	if why := r.why("blue/pod/b"); !strings.HasPrefix(why, "too-many-queues: queue root.blue can't be created") {
		t.Errorf("blue is told %q", why)
	}
	r.delete("red/a")
	r.settle()
	r.tend()
	r.tend() // red's goes
	r.tend() // and blue's comes
	r.expect("root.blue")
}

func TestANewConfigurationTakesJobsAlongThatWaitInQueuesItHasNoPlaceFor(t *testing.T) {
	r := newRig(t, byUser, Options{}).leads()
	r.pod("team", "a", "", ykUser, `{"user":"ada","groups":["staff"]}`)
	r.settle()
	r.tend()
	r.expect("root.other", "root.users.ada")
	if err := r.do(func() error { return r.s.apply(background, r.parse(byNamespace)) }); err != nil {
		t.Fatal(err)
	}
	r.settle()
	r.tend()
	r.expect("root.team")
}

// usersIsALeaf is byUser, but for jobs that go into root.users itself.
var usersIsALeaf = strings.NewReplacer("parent: true, ", "", ", childtemplate: {maxapplications: 2, resources: {max: {vcore: 4}}}", "",
	"{name: user, create: true, parent: {name: fixed, value: root.users}}", "{name: fixed, value: root.users}").Replace(byUser)

// draining is a scheduler with a job that runs in root.users.ada and one that waits there,
// which was told to make root.users a leaf.
func draining(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, byUser, Options{}).leads()
	r.pod("team", "a", "n1", ykUser, `{"user":"ada","groups":["staff"]}`)
	r.node("n1", "1")
	r.settle()
	r.tend()
	r.pod("team", "b", "", ykUser, `{"user":"ada","groups":["staff"]}`)
	r.settle()
	err := r.do(func() error { return r.s.apply(background, r.parse(usersIsALeaf)) })
	if err == nil || !strings.Contains(err.Error(), "root.users.ada") {
		t.Errorf("it says %v", err)
	}
	r.settle()
	r.tend()
	r.expect("root.other", "root.users.ada")
	if why := r.why("team/pod/b"); !strings.HasPrefix(why, "queue-draining: queue root.users.ada takes no more jobs: in the new configuration its parent root.users is a leaf now") {
		t.Errorf("the job that waits is told %q", why)
	}
	return r
}

func TestANewConfigurationWaitsForJobsThatRunInQueuesItHasNoPlaceFor(t *testing.T) {
	r := draining(t)
	r.delete("team/a")
	r.settle()
	if err := r.do(func() error { return r.s.apply(background, r.parse(usersIsALeaf)) }); err != nil {
		t.Errorf("then %v", err)
	}
	r.settle()
	r.expect("root.other", "root.users")
	if why := r.why("team/pod/b"); why != "" {
		t.Errorf("the other job waits for %q", why)
	}
}

func TestAQueueTakesJobsAgainWhenNoConfigurationWantsItToGo(t *testing.T) {
	for name, comes := range map[string]func(r *rig){
		"the configuration before is written again": func(r *rig) {
			if err := r.do(func() error { return r.s.apply(background, r.parse(byUser)) }); err != nil {
				t.Error(err)
			}
		},
		"nothing is tried for a while": func(r *rig) {
			r.s.undrain()
			if len(r.s.drains) == 0 {
				t.Error("it is given up at once")
			}
			r.s.drainEnd = 0
			r.s.undrain()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := draining(t)
			comes(r)
			r.settle()
			r.tend()
			r.expect("root.other", "root.users.ada")
			if why := r.why("team/pod/b"); why != "" {
				t.Errorf("the job that waits is told %q", why)
			}
		})
	}
}

func TestAConfiguredQueueTakesThePlaceOfACreatedOneWithItsJobs(t *testing.T) {
	r := newRig(t, byNamespace, Options{IdleCreated: 1}).leads()
	r.node("n1", "1000")
	r.pod("team", "a", "n1")
	r.settle()
	r.tend()
	next := strings.Replace(byNamespace, "submitacl: '*'", "submitacl: '*', queues: [{name: team, resources: {max: {vcore: 5}}}]", 1)
	if err := r.do(func() error { return r.s.apply(background, r.parse(next)) }); err != nil {
		t.Fatal(err)
	}
	r.settle()
	if most, _ := r.s.tree.Root.Children[0].Max.Get("cpu"); most != 5000 {
		t.Errorf("it may have %v", most)
	}
	r.delete("team/a")
	r.settle()
	r.tend()
	time.Sleep(time.Millisecond)
	r.tend()
	r.expect("root.team")
}

// TestWhateverHappensEachJobHasItsQueueAndNoQueueIsLeftOver: pods come and go, run or wait,
// queues are tended and configured anew, in any order.
func TestWhateverHappensEachJobHasItsQueueAndNoQueueIsLeftOver(t *testing.T) {
	configs := []string{byNamespace, byUser, strings.Replace(byNamespace, "submitacl: '*'", "queues: [{name: ns0}, {name: ns1, parent: true}]", 1)}
	rapid.Check(t, func(rt *rapid.T) {
		r := newRig(t, byNamespace, Options{IdleCreated: 1, MaxCreated: 6}).leads()
		r.node("n1", "1000")
		n, same := 0, true
		rt.Repeat(map[string]func(*rapid.T){
			"pod": func(rt *rapid.T) {
				n++
				user := fmt.Sprintf(`{"user":"u%d","groups":["staff"]}`, rapid.IntRange(0, 2).Draw(rt, "user"))
				r.pod(fmt.Sprint("ns", rapid.IntRange(0, 3).Draw(rt, "namespace")), fmt.Sprint("p", n), rapid.SampledFrom([]string{"", "n1"}).Draw(rt, "node"), ykUser, user)
			},
			"delete": func(rt *rapid.T) {
				if len(r.pods) > 0 {
					r.delete(rapid.SampledFrom(slices.Sorted(maps.Keys(r.pods))).Draw(rt, "pod"))
				}
			},
			"tend": func(*rapid.T) { r.tend() },
			"configure": func(rt *rapid.T) {
				c := rapid.SampledFrom(configs).Draw(rt, "queues")
				same = same && c == byNamespace
				_ = r.do(func() error { return r.s.apply(background, r.parse(c)) }) // jobs may be in the way
			},
			"": func(rt *rapid.T) {
				if len(r.refused) > 0 {
					rt.Fatalf("the ledger refused %q", r.refused)
				}
			},
		})
		for range 4 { // wishes are granted, what is empty goes, and who waited for that comes
			r.settle()
			r.tend()
		}
		used := r.s.mirror.Queues()
		for _, l := range r.s.grown {
			if used[l.Path] == nil {
				for key := range r.pods {
					rt.Logf("%s: %s", key, r.why(strings.Replace(key, "/", "/pod/", 1)))
				}
				rt.Fatalf("%s is there, and the jobs are in %v; wanted %v", l.Path, used, r.s.garden.wanted)
			}
		}
		for key := range r.pods {
			job := strings.Replace(key, "/", "/pod/", 1)
			if why := r.why(job); strings.Contains(why, "queue-being-created") {
				rt.Fatalf("%s still waits: %s", job, why)
			}
		}
		if len(r.refused) > 0 {
			rt.Fatalf("the ledger refused %q", r.refused)
		}
		if !same { // what runs has stayed where other rules had put it
			return
		}
		next := newRig(t, byNamespace, Options{})
		for _, p := range r.pods {
			next.s.mirror.PodChanged(p)
		}
		if next.leads(); !slices.Equal(next.queues(), r.queues()) {
			rt.Fatalf("whoever leads next has %q, not %q", next.queues(), r.queues())
		}
	})
}
