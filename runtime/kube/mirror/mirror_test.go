package mirror_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/runtime/kube/act"
	"github.com/musterhq/muster/runtime/kube/groups"
	"github.com/musterhq/muster/runtime/usage"
)

func TestPodsOfTheirOwnAreBoundAndGiveTheirPlaceBack(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 2)
	a := c.pod("a", 1)
	c.pod("b", 1)
	c.pod("late", 1)
	c.begin()
	c.expect("a b")
	if got := c.waiting()["late"]; got != "NoRoom!" {
		t.Errorf("late was told %q", got)
	}
	c.change(a, ended(corev1.PodSucceeded))
	c.expect("b late")
}

func TestOthersPodsAreNeitherTouchedNorForgotten(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 2)
	other := c.pod("other", 1, of("default-scheduler"), on("n0"))
	c.pod("not-ours", 1, of("default-scheduler"))
	c.begin()
	c.pod("a", 1)
	c.pod("b", 1)
	c.expect("a other")
	c.delete(other)
	c.expect("a b")
}

const two = `[{"name":"headgroup","minMember":1,"minResource":{"cpu":"1","nvidia.com/gpu":"0"}},{"name":"worker","minMember":2,"minResource":{"cpu":"1","nvidia.com/gpu":"1"}}]`

// ray makes a pod as KubeRay does for YuniKorn.
func (c *cluster) ray(job, group, name string, gpus int) *corev1.Pod {
	kind := map[bool]string{true: "head", false: "worker"}[group == "headgroup"]
	return c.pod(name, gpus, of("yunikorn"), owned("RayCluster", job), label("applicationId", job), label("queue", "root.a"),
		label("ray.io/node-type", kind), annotation("yunikorn.apache.org/task-group-name", group), annotation("yunikorn.apache.org/task-groups", two))
}

func TestADeclaredGangHoldsPlacesForPodsToCome(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 2)
	c.begin()
	c.ray("j", "headgroup", "j-head", 0)
	c.expect("j-head")
	c.pod("small", 1) // may not have the workers' places
	c.expect("j-head")
	c.ray("j", "worker", "j-w1", 1)
	c.ray("j", "worker", "j-w2", 1)
	c.expect("j-head j-w1 j-w2")
}

func TestADeclaredGangThatNeverComesGivesItsPlacesUp(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 2)
	c.begin()
	c.ray("j", "headgroup", "j-head", 0)
	c.pod("small", 1)
	c.expect("j-head")
	c.pass(15*time.Minute + 2*time.Second)
	c.expect("j-head small")
}

func TestAGangThatDoesNotFitStartsNoPod(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 1)
	c.begin()
	c.ray("j", "headgroup", "j-head", 0)
	c.ray("j", "worker", "j-w1", 1)
	c.ray("j", "worker", "j-w2", 1)
	c.expect("")
	if got := c.waiting()["j-w1"]; got != "GangNoRoom!" {
		t.Errorf("a worker was told %q", got)
	}
	c.node("n1", 1)
	c.expect("j-head j-w1 j-w2")
}

func TestMoreWorkersJoinAsSurplusAndLeaveAgain(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 4)
	c.begin()
	c.ray("j", "headgroup", "j-head", 0)
	for i := range 4 {
		c.ray("j", "worker", fmt.Sprint("j-w", i), 1)
	}
	c.expect("j-head j-w0 j-w1 j-w2 j-w3")
	late := c.ray("j", "worker", "j-w4", 1)
	c.expect("j-head j-w0 j-w1 j-w2 j-w3")
	c.delete(late)
	for _, p := range c.pods {
		if p.Name == "j-w3" {
			c.delete(p)
		}
	}
	c.pod("small", 1)
	c.expect("j-head j-w0 j-w1 j-w2 small")
}

func TestAWorkerThatDiesIsReplacedBeforeAnyOtherJobGetsItsPlace(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 2)
	c.begin()
	c.ray("j", "headgroup", "j-head", 0)
	c.ray("j", "worker", "j-w1", 1)
	w2 := c.ray("j", "worker", "j-w2", 1)
	c.pod("small", 1)
	c.expect("j-head j-w1 j-w2")
	c.delete(w2)
	c.expect("j-head j-w1")
	c.ray("j", "worker", "j-w3", 1)
	c.expect("j-head j-w1 j-w3")
	for _, p := range c.pods {
		if p.Name == "j-w3" {
			c.delete(p)
		}
	}
	c.pass(61 * time.Second) // nobody makes another one
	c.expect("j-head j-w1 small")
}

func TestAPodLargerThanDeclaredGetsAPlaceOfItsOwnSize(t *testing.T) {
	c := newCluster(t)
	c.nodes(2, 2)
	c.begin()
	c.ray("j", "headgroup", "j-head", 0)
	c.settle()
	c.ray("j", "worker", "j-w1", 2) // an autoscaler's sidecar, an init container…
	c.ray("j", "worker", "j-w2", 2)
	c.expect("j-head j-w1 j-w2")
}

func TestReclaimEvictsExactlyWhatIsOwedAndTheHeadGoesLast(t *testing.T) {
	c := newCluster(t, queue("a", 2, 4), queue("b", 2, 4))
	c.nodes(4, 1)
	c.begin()
	for i := range 4 {
		c.pod(fmt.Sprint("a", i), 1, label("muster.dev/queue", "root.a"))
	}
	c.expect("a0 a1 a2 a3")
	c.pass(2 * time.Second)
	for i := range 3 {
		c.pod(fmt.Sprint("b", i), 1, label("muster.dev/queue", "root.b"))
	}
	c.settle()
	if n := len(c.work.Evicts); n != 2 {
		t.Errorf("%d evictions, want 2", n)
	}
	for _, e := range c.work.Evicts {
		if e.Reason != "Reclaimed" || e.For == nil {
			t.Errorf("eviction %+v", e)
		}
	}
	c.expect("a2 a3 b0 b1") // equal ones: those of the first jobs go
}

func TestAnEvictedGangComesBackWhole(t *testing.T) {
	c := newCluster(t, queue("a", 0, 4), queue("b", 2, 4))
	c.nodes(1, 2)
	c.begin()
	c.deleted = func(p *corev1.Pod) {
		if g := p.Annotations["yunikorn.apache.org/task-group-name"]; g != "" {
			gpus := p.Spec.Containers[0].Resources.Requests["nvidia.com/gpu"]
			c.ray("j", g, p.Name+"x", int(gpus.Value()))
		}
	}
	c.ray("j", "headgroup", "h", 0)
	c.ray("j", "worker", "w", 1)
	c.ray("j", "worker", "v", 1)
	c.expect("h v w")
	c.pass(2 * time.Second)
	b := c.pod("b", 2, label("muster.dev/queue", "root.b"))
	c.expect("b")
	if last := c.work.Evicts[len(c.work.Evicts)-1]; last.Pod.Name != "h" || !last.Leader {
		t.Errorf("%s was evicted last", last.Pod.Name)
	}
	c.deleted = nil
	c.delete(b)
	c.expect("hx vx wx")
}

func TestAfterARestartNothingMovesAndGangsAreFinishedWhereTheyWereMeantToBe(t *testing.T) {
	c := newCluster(t)
	c.nodes(3, 1)
	h := c.ray("j", "headgroup", "h", 0)
	c.change(h, on("n2"))
	w := c.ray("j", "worker", "w", 1)
	c.change(w, on("n2"))
	v := c.ray("j", "worker", "v", 1)
	c.pod("older", 1, on("n0"))
	c.begin(act.Unit{Job: "x", Gang: true, Binds: []act.Bind{{Pod: act.Pod{UID: v.UID}, Node: "n1"}}})
	c.pod("small", 1)
	c.expect("h older v w")
	if got := c.pods[v.UID].Spec.NodeName; got != "n1" {
		t.Errorf("v is on %s", got)
	}
}

func TestWithoutARecordAHalfBoundGangIsCompletedFirst(t *testing.T) {
	c := newCluster(t)
	c.nodes(2, 1)
	c.pod("small", 1)
	h := c.ray("j", "headgroup", "h", 0)
	c.change(h, on("n0"))
	w := c.ray("j", "worker", "w", 1)
	c.change(w, on("n0"))
	c.ray("j", "worker", "v", 1)
	c.begin()
	c.expect("h v w")
}

func TestAHalfBoundGangThatCannotBeCompletedIsTakenOffWhole(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 1)
	h := c.ray("j", "headgroup", "h", 0)
	c.change(h, on("n0"))
	w := c.ray("j", "worker", "w", 1)
	c.change(w, on("n0"))
	c.ray("j", "worker", "v", 1)
	c.begin()
	c.expect("h w")
	c.pass(62 * time.Second)
	c.pod("small", 1)
	c.expect("small")
}

func TestABindThatFailsIsDecidedAnewAndTheGangStaysWhole(t *testing.T) {
	c := newCluster(t)
	c.nodes(3, 1)
	c.begin()
	c.failing["j-w2"] = fmt.Errorf("no route to host")
	c.ray("j", "headgroup", "j-head", 0)
	c.ray("j", "worker", "j-w1", 1)
	c.ray("j", "worker", "j-w2", 1)
	c.expect("j-head j-w1")
	delete(c.failing, "j-w2")
	c.pass(10 * time.Second)
	c.expect("j-head j-w1 j-w2")
}

func TestANodeThatGoesTakesOnlyItsOwnPods(t *testing.T) {
	c := newCluster(t)
	c.node("n0", 1)
	c.begin()
	c.pod("first", 0) // keeps n0 from being wholly free: the head goes to it
	c.ray("j", "headgroup", "h", 0)
	c.settle()
	c.node("n1", 1)
	c.ray("j", "worker", "w", 1)
	c.ray("j", "worker", "v", 1)
	c.expect("first h v w")
	c.m.NodeDeleted("n1")
	c.pod("small", 1)
	c.settle()
	for _, p := range c.pods { // the garbage collector of pods does so
		if p.Spec.NodeName == "n1" {
			c.delete(p)
		}
	}
	c.settle()
	c.node("n9", 1)
	c.ray("j", "worker", "u", 1)
	c.settle()
	if got := c.bound(); got != "first h u v" && got != "first h u w" {
		t.Errorf("bound: %s", got)
	}
	if got := c.waiting()["small"]; got != "NoRoom!" {
		t.Errorf("small was told %q", got)
	}
}

func TestAJobWithoutAQueueIsToldSoAndStartsWhenItHasOne(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 1)
	c.begin()
	p := c.pod("lost", 1, label("muster.dev/queue", "nowhere"))
	c.expect("")
	if got := c.waiting()["lost"]; got != "NoQueue" {
		t.Errorf("it was told %q", got)
	}
	c.change(p, label("muster.dev/queue", "root.a"))
	c.expect("lost")
}

func TestAJobWhoseQueueIsBeingMadeWaitsWithoutAWordAndStartsWhenItIsThere(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 1)
	c.making = map[string]bool{"a": true}
	c.begin()
	if c.asked != 1 {
		t.Errorf("it was said %d times that all jobs have asked", c.asked)
	}
	c.pod("p", 1)
	c.expect("")
	if told, is := c.waiting()["p"]; is {
		t.Errorf("the pod is told %q", told)
	}
	if why := c.m.Explain("team/pod/p"); len(why) != 1 || why[0].Code != "queue-being-created" {
		t.Errorf("who asks is told %v", why)
	}
	if used := c.m.Queues(); len(used) != 0 {
		t.Errorf("there are jobs in %v", used)
	}
	clear(c.making)
	c.settle()
	c.expect("")
	c.m.QueuesGrown()
	c.settle()
	c.expect("p")
	if used := c.m.Queues(); !reflect.DeepEqual(used, map[string][]string{"root.a": {"team"}}) {
		t.Errorf("then there are jobs in %v", used)
	}
}

func TestWhatIsBlockedByQuotaIsNotToldAsALackOfNodes(t *testing.T) {
	c := newCluster(t, queue("a", 0, 1))
	c.nodes(1, 4)
	c.begin()
	c.pod("a", 1)
	c.pod("b", 1)
	c.expect("a")
	if got := c.waiting()["b"]; got != "QueueMax" {
		t.Errorf("b was told %q", got)
	}
}

func TestAPlanThatWasOvertakenBindsNobody(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 4)
	c.begin()
	x := c.pod("x", 1, owned("ReplicaSet", "rs"))
	c.meanwhile = func() { // the plan is about x; y has its slot when it comes
		c.delete(x)
		c.pod("y", 1, owned("ReplicaSet", "rs"))
		c.m.Flush()
	}
	c.m.Flush()
	c.l.Turn(t.Context())
	if n := len(c.todo.Units); n != 0 {
		t.Errorf("%d units are to be bound by a plan that knew nothing of y: %+v", n, c.todo.Units)
	}
	c.expect("y")
	if n := len(c.work.Units); n != 1 {
		t.Errorf("y was asked to be bound %d times", n)
	}
}

// member makes a pod of a native PodGroup.
func (c *cluster) member(group, name string, gpus int, changes ...change) *corev1.Pod {
	of := func(p *corev1.Pod) { p.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{PodGroupName: &group} }
	return c.pod(name, gpus, append([]change{of}, changes...)...)
}

// group makes a native PodGroup, or changes it.
func (c *cluster) group(name string, least int32) groups.Key {
	g := &groups.PodGroup{API: groups.Native, Version: "v1beta1", Namespace: "team", Name: name, UID: name, Min: least, Created: c.now.Add(-time.Minute)}
	c.groups.Put(g)
	c.m.GroupChanged(g.Key())
	return g.Key()
}

func TestMembersWaitForTheirPodGroupAndForEachOther(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 4)
	c.begin()
	c.member("g", "a", 1)
	c.expect("")
	if got := c.waiting()["a"]; got != "WaitingForGroup" {
		t.Errorf("without its group a was told %q", got)
	}
	c.group("g", 3)
	c.member("g", "b", 1)
	c.expect("")
	if got := c.waiting()["a"]; got != "GangIncomplete" {
		t.Errorf("without its siblings a was told %q", got)
	}
	if got := c.m.Explain("team/podgroup/g"); len(got) != 1 || got[0].Text != "2 of the 3 pods that must start together exist" {
		t.Errorf("explained: %v", got)
	}
	c.pod("small", 1)
	c.expect("small")
	c.member("g", "d", 1)
	c.expect("a b d small")
}

func TestAMinCountThatIsLoweredLetsTheGangStart(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 2)
	c.begin()
	c.group("g", 3)
	c.member("g", "a", 1)
	c.member("g", "b", 1)
	c.member("g", "d", 1)
	c.expect("")
	c.group("g", 2)
	c.settle()
	if n := len(strings.Fields(c.bound())); n != 2 {
		t.Errorf("%d run: %s; refused %q", n, c.bound(), c.refused)
	}
}

func TestAGangOfDifferentPodsCountsAllOfThem(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 4)
	c.begin()
	c.group("g", 3)
	c.member("g", "a", 1)
	c.member("g", "b", 2)
	c.expect("")
	c.member("g", "d", 1)
	c.expect("a b d")
}

func TestAGatedPodWaitsWithoutAWordOfOurs(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 4)
	c.begin()
	p := c.pod("a", 1, func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "x"}} })
	c.expect("")
	if got := c.waiting(); len(got) != 0 {
		t.Errorf("told: %v", got)
	}
	c.change(p, func(p *corev1.Pod) { p.Spec.SchedulingGates = nil })
	c.expect("a")
}

func TestAJobThatEndsIsForgottenWithItsPods(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 4)
	c.begin()
	p := c.pod("a", 1)
	c.expect("a")
	c.delete(c.pods[p.UID])
	c.settle()
	c.l.Visit(func(w *world.World) {
		if n := w.JobCount(); n != 0 {
			t.Errorf("%d jobs are left", n)
		}
	})
	c.settle()
}

func TestABindForWhichThereIsNoRoomAnyMoreIsNotAdmitted(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 2)
	c.begin()
	c.slow = true
	c.pod("a", 2)
	c.settle()
	b := c.todo.Units[0].Binds[0]
	if err := c.m.Admit(b); err != nil {
		t.Errorf("with room: %v", err)
	}
	c.pod("other", 1, of("default-scheduler"), on("n0"))
	if err := c.m.Admit(b); err == nil {
		t.Error("without room it was admitted")
	}
}

func TestWhateverHappensNoNodeIsOvercommittedAndNoGangIsInPieces(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		c := newCluster(t, queue("a", 2, 0), queue("b", 2, 0))
		nodes := rapid.IntRange(1, 3).Draw(r, "nodes")
		c.nodes(nodes, 2)
		c.begin()
		c.twice = true
		for i := range rapid.IntRange(1, 25).Draw(r, "steps") {
			c.random(r, i)
			if rapid.Bool().Draw(r, "settle") {
				c.settle()
			}
			c.sound(r)
		}
		c.failing = map[string]error{}
		c.pass(5 * time.Minute)
		c.sound(r)
		c.empties(r, nodes)
		if len(c.refused) > 0 {
			r.Fatalf("the ledger refused: %q", c.refused)
		}
	})
}

// random lets one thing happen.
func (c *cluster) random(r *rapid.T, i int) {
	label := label("muster.dev/queue", rapid.SampledFrom([]string{"root.a", "root.b"}).Draw(r, "queue"))
	some := func() *corev1.Pod {
		all := slices.Collect(maps.Values(c.pods))
		if len(all) == 0 {
			return nil
		}
		slices.SortFunc(all, func(a, b *corev1.Pod) int { return strings.Compare(string(a.UID), string(b.UID)) })
		return rapid.SampledFrom(all).Draw(r, "pod")
	}
	switch rapid.IntRange(0, 15).Draw(r, "what") {
	case 0, 1:
		c.pod(fmt.Sprint("p", i), rapid.IntRange(0, 2).Draw(r, "gpus"), label)
	case 2:
		c.ray(fmt.Sprint("j", i), "headgroup", fmt.Sprint("h", i), 0)
		for k := range 2 {
			c.ray(fmt.Sprint("j", i), "worker", fmt.Sprint("w", i, "-", k), 1)
		}
	case 3:
		c.delete(some())
	case 4:
		if p := some(); p != nil && p.Spec.NodeName != "" {
			c.change(p, ended(rapid.SampledFrom([]corev1.PodPhase{corev1.PodSucceeded, corev1.PodFailed}).Draw(r, "phase")))
		}
	case 5:
		if p := some(); p != nil {
			c.failing[p.Name] = fmt.Errorf("it fails")
		}
	case 6:
		c.pass(time.Duration(rapid.IntRange(1, 90).Draw(r, "seconds")) * time.Second)
	case 7:
		c.group("g", int32(rapid.IntRange(0, 3).Draw(r, "min")))
		c.member("g", fmt.Sprint("m", i), 1, label)
	case 8:
		c.slow = !c.slow
	case 9:
		c.crash()
	case 10:
		if p := some(); p != nil {
			u := idle(p, rapid.IntRange(0, 2).Draw(r, "measured"), time.Duration(rapid.IntRange(0, 99).Draw(r, "idle"))*time.Second)
			u.Known, u.Unassigned = rapid.Bool().Draw(r, "known"), rapid.Bool().Draw(r, "unassigned")
			c.says(fmt.Sprint("n", rapid.IntRange(0, 3).Draw(r, "node")), u)
		}
	case 11:
		g := gpu(rapid.IntRange(0, 1).Draw(r, "gpu"), rapid.SampledFrom([]string{"", "failed", "silent", "cordoned"}).Draw(r, "state"))
		if p := some(); p != nil {
			g.Pods = append(g.Pods, usage.PodRef{UID: string(p.UID)})
		}
		c.m.Health(fmt.Sprint("n", rapid.IntRange(0, 3).Draw(r, "node")), gpusOf(2, g))
	case 12:
		n := rapid.SampledFrom(c.machines).Draw(r, "machine")
		c.m.NodeDeleted(n.Name)
		if rapid.Bool().Draw(r, "settle without it") {
			c.settle()
		}
		for _, p := range slices.Collect(maps.Values(c.pods)) { // the garbage collector of pods does so
			if p.Spec.NodeName == n.Name {
				c.delete(p)
			}
		}
		c.m.NodeChanged(n)
	case 13:
		if p := some(); p != nil && p.Spec.NodeName == "" {
			c.change(p, deleting)
		}
	case 14:
		if p := some(); p != nil && p.Spec.NodeName == "" {
			c.change(p, gpus(rapid.Int64Range(0, 2).Draw(r, "asks for")))
		}
	case 15:
		if p := some(); p != nil {
			c.change(p, cpu(fmt.Sprint(rapid.IntRange(1, 40).Draw(r, "takes"))))
		}
	}
}

// sound checks what must hold at every moment, from the API alone.
func (c *cluster) sound(r *rapid.T) {
	used := map[string]int64{}
	for _, p := range c.pods {
		if p.Spec.NodeName != "" && p.Status.Phase == corev1.PodRunning {
			q := p.Spec.Containers[0].Resources.Requests["nvidia.com/gpu"]
			used[p.Spec.NodeName] += q.Value()
		}
	}
	for n, gpus := range used {
		if gpus > 2 {
			r.Fatalf("node %s has %d of 2 GPUs in use", n, gpus)
		}
	}
}

// empties ends everything, and then there must be room for as much as at the beginning:
// whatever has happened holds nothing.
func (c *cluster) empties(r *rapid.T, nodes int) {
	c.slow = false
	for i := range nodes {
		c.m.Health(fmt.Sprint("n", i), gpusOf(2))
	}
	for len(c.pods) > 0 { // one that goes may start another
		for _, p := range slices.Collect(maps.Values(c.pods)) {
			c.delete(p)
		}
		c.settle()
	}
	for i := range 2 * nodes {
		c.pod(fmt.Sprint("last", i), 1)
	}
	c.pass(2 * time.Minute)
	if got := strings.Count(c.bound(), "last"); got != 2*nodes {
		r.Fatalf("%d of %d pods found room in the empty cluster: %v", got, 2*nodes, c.waiting())
	}
}

// host makes one host of a multi-host worker, as KubeRay does for YuniKorn.
func (c *cluster) host(job, slice, name string) *corev1.Pod {
	return c.pod(name, 1, of("yunikorn"), owned("RayCluster", job), label("applicationId", job), label("queue", "root.a"),
		label("ray.io/is-ray-node", "yes"), label("ray.io/cluster", job), label("ray.io/group", "worker"), label("ray.io/node-type", "worker"),
		label("ray.io/worker-group-replica-name", slice),
		annotation("yunikorn.apache.org/task-group-name", "worker"), annotation("yunikorn.apache.org/task-groups", two))
}

func TestHostsOfAReplicaAboveTheGangStartTogetherOrNotAtAll(t *testing.T) {
	c := newCluster(t)
	c.groups.Put(&groups.PodGroup{API: groups.Ray, Namespace: "team", Name: "j", UID: "j", Hosts: map[string]int32{"worker": 2}})
	c.nodes(1, 3)
	c.begin()
	c.ray("j", "headgroup", "head", 0)
	c.host("j", "worker-a", "a0")
	c.host("j", "worker-a", "a1")
	c.expect("a0 a1 head")
	c.host("j", "worker-b", "b0")
	c.host("j", "worker-b", "b1")
	c.expect("a0 a1 head") // one of the two would have room
	c.node("n9", 1)
	c.expect("a0 a1 b0 b1 head")
	c.crash()
	c.expect("a0 a1 b0 b1 head")
}

// The controller of Volcano's Jobs makes pods when it hears that the group stands in the
// queue, and not before.
func TestAVolcanoGroupWithoutPodsIsToldToStandInTheQueue(t *testing.T) {
	c := newCluster(t)
	put := func(name string) groups.Key {
		g := &groups.PodGroup{API: groups.Volcano, Version: "v1beta1", Namespace: "team", Name: name, UID: name, Min: 2}
		c.groups.Put(g)
		c.m.GroupChanged(g.Key())
		return g.Key()
	}
	early, gone := put("early"), put("gone")
	c.groups.Drop(gone)
	c.m.GroupChanged(gone)
	if len(c.groupSaid) != 0 {
		t.Errorf("who does not lead said %v", c.groupSaid)
	}
	c.begin()
	late, native := put("late"), c.group("native", 2)
	for key, wanted := range map[groups.Key]bool{early: true, late: true, gone: false, native: false} {
		if _, told := c.groupSaid[key]; told != wanted {
			t.Errorf("%s: told %t, want %t", key, told, wanted)
		}
	}
}

// A pod has the tolerations that the API server gives to all, what its task group declares
// has not: both are one shape, and the pod takes the place that is kept for it.
func TestAPodAsTheAPIServerMakesItTakesThePlaceOfItsTaskGroup(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 4)
	c.begin()
	const declared = `[{"name":"head","minMember":1,"minResource":{"cpu":"1"}},{"name":"workers","minMember":2,"minResource":{"cpu":"1","nvidia.com/gpu":"1"}}]`
	made := func(p *corev1.Pod) {
		for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
			seconds := int64(300)
			p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds})
		}
	}
	in := func(group string) []change {
		return []change{made, of("yunikorn"), label("applicationId", "ray"), annotation("yunikorn.apache.org/task-groups", declared), annotation("yunikorn.apache.org/task-group-name", group)}
	}
	c.pod("h", 0, in("head")...)
	c.expect("h")
	c.pod("w", 1, in("workers")...)
	c.expect("h w")
	for _, j := range c.l.Ledger().World().Jobs() {
		if n := len(j.Tasks); n != 3 {
			t.Errorf("the job has %d tasks, want those that were declared", n)
		}
	}
}
