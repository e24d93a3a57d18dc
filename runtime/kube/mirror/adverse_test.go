package mirror_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// deleting is a pod that was deleted and that a finalizer keeps.
func deleting(p *corev1.Pod) {
	p.DeletionTimestamp = &metav1.Time{Time: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)}
	p.Finalizers = []string{"batch.kubernetes.io/job-tracking"}
}

func gpus(n int64) change {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests["nvidia.com/gpu"] = *resource.NewQuantity(n, resource.DecimalSI)
	}
}

func cpu(n string) change {
	return func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests["cpu"] = resource.MustParse(n) }
}

func TestAPodThatIsDeletedBeforeItIsBoundHoldsNothingWhileAFinalizerKeepsIt(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 1)
	c.begin()
	c.pod("never", 1, deleting)
	c.expect("")
	c.slow = true
	p := c.pod("late", 1)
	c.settle()
	c.change(p, deleting) // between decision and bind
	c.settle()
	c.slow = false
	c.gone(p)
	c.todo.Units = nil
	c.pod("next", 1)
	c.expect("next")
}

// gone lets the bind of a pod fail that is being deleted, as the API server says it.
func (c *cluster) gone(p *corev1.Pod) {
	for _, u := range c.todo.Units {
		for _, b := range u.Binds {
			if b.Pod.UID == p.UID {
				c.m.BindFailed(u.Job, b.Task, b.Pod, b.Node, fmt.Errorf("pod %s is being deleted", p.Name), true)
			}
		}
	}
}

func TestAnOldBindThatFailsSaysNothingOfTheNewOne(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 1)
	c.begin()
	c.slow = true
	p := c.pod("p", 1)
	c.settle()
	c.node("n1", 1)
	c.m.NodeDeleted("n0") // while its bind is on its way
	c.settle()
	if len(c.todo.Units) != 2 {
		t.Fatalf("%d binds were asked for, want one for each node", len(c.todo.Units))
	}
	old, fresh := c.todo.Units[0].Binds[0], c.todo.Units[1].Binds[0]
	if old.Node != "n0" || fresh.Node != "n1" {
		t.Fatalf("bound to %s, then to %s", old.Node, fresh.Node)
	}
	c.todo.Units = c.todo.Units[1:]
	c.m.BindFailed("x", old.Task, old.Pod, old.Node, fmt.Errorf("node n0 is not there any more"), false)
	c.pod("other", 1)
	c.settle()
	if len(c.todo.Units) != 1 {
		t.Fatalf("asked for meanwhile: %+v", c.todo.Units)
	}
	c.slow = false
	c.expect("p")
	if got := c.pods[p.UID].Spec.NodeName; got != "n1" {
		t.Errorf("p is on %s", got)
	}
}

func TestABindUnderWayTakesItsPlaceUntilItsOutcomeIsHeard(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 1)
	key := c.group("g", 1)
	c.begin()
	c.slow = true
	c.member("g", "p", 1)
	c.settle()
	under := c.todo.Units[0].Binds[0]
	c.groups.Drop(key)
	c.m.GroupChanged(key) // p must not start any more
	c.settle()
	c.pod("other", 1)
	c.settle()
	last := c.todo.Units[len(c.todo.Units)-1].Binds[0]
	if last.Pod.Name != "other" {
		t.Fatalf("%s is bound last", last.Pod.Name)
	}
	if err := c.m.Admit(last); err == nil {
		t.Error("two pods have the same place: the first bind may have happened")
	}
	c.todo.Units = nil
	c.m.BindFailed("g", under.Task, under.Pod, under.Node, fmt.Errorf("no"), false)
	if err := c.m.Admit(last); err != nil {
		t.Errorf("the first bind failed: %v", err)
	}
}

func TestWhatNeverHappenedLeavesNoPlaceTaken(t *testing.T) {
	for name, end := range map[string]func(c *cluster, p *corev1.Pod){
		"deleted":            func(c *cluster, p *corev1.Pod) { c.delete(p) },
		"deleted, kept":      func(c *cluster, p *corev1.Pod) { c.change(p, deleting) },
		"ended, all at once": func(c *cluster, p *corev1.Pod) { c.change(p, on("n0"), ended(corev1.PodSucceeded)) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.nodes(1, 1)
			c.begin()
			c.slow = true
			p := c.pod("p", 1)
			c.settle()
			c.todo.Units = nil // its outcome is not heard before
			end(c, p)
			c.slow = false
			c.pod("next", 1)
			c.expect("next")
		})
	}
}

func TestAPodWhoseBindsFailIsLeftAloneWhateverIsWrittenOnIt(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 1)
	c.begin()
	p := c.pod("p", 1)
	c.failing["p"] = fmt.Errorf("a webhook says no")
	c.settle()
	tried := func() (n int) {
		for _, u := range c.work.Units {
			n += len(u.Binds)
		}
		return n
	}
	before := tried()
	for i := range 20 { // our own conditions among others
		c.change(p, annotation("touched", fmt.Sprint(i)))
		c.settle()
	}
	if n := tried() - before; n > 0 {
		t.Errorf("its bind was tried %d times more within a second", n)
	}
	if got := c.waiting()["p"]; got != "BindFailed" {
		t.Errorf("it was told %q", got)
	}
	delete(c.failing, "p")
	c.pass(10 * time.Second)
	c.expect("p")
}

func TestTheEndOfABackoffEndsNothingElse(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 1)
	key := c.group("g", 1)
	c.begin()
	c.failing["p"] = fmt.Errorf("a webhook says no")
	c.member("g", "p", 1)
	c.settle()
	c.groups.Drop(key)
	c.m.GroupChanged(key)
	delete(c.failing, "p")
	c.pass(3 * time.Minute)
	c.expect("") // it waits for its group
}

func TestAPodThatAsksForSomethingElseIsDecidedByThat(t *testing.T) {
	c := newCluster(t)
	c.node("n0", 1)
	c.machines[0].Spec.Taints = []corev1.Taint{{Key: "maintenance", Effect: corev1.TaintEffectNoSchedule}}
	c.m.NodeChanged(c.machines[0])
	c.begin()
	p := c.pod("p", 1)
	c.expect("")
	c.change(p, func(p *corev1.Pod) {
		p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Key: "maintenance", Operator: corev1.TolerationOpExists})
	})
	c.expect("p")
	c.node("n1", 1)
	big := c.pod("big", 2)
	c.expect("p")
	c.change(big, gpus(1))
	c.expect("big p")
}

func TestAPodThatGrowsInPlaceTakesMoreOfItsNode(t *testing.T) {
	for name, changes := range map[string][]change{
		"ours": nil, "ours, from before": {on("n0")}, "another's": {of("default-scheduler"), on("n0")},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.nodes(1, 4)
			c.begin()
			p := c.pod("p", 1, changes...)
			c.expect("p")
			c.change(p, cpu("60"))
			c.settle()
			c.pod("q", 0, cpu("8"))
			c.expect("p")
			if got := c.waiting()["q"]; got != "NoRoom!" {
				t.Errorf("q was told %q", got)
			}
			c.change(c.pods[p.UID], cpu("2"))
			c.expect("p q")
		})
	}
}

// What a leader has seen whole runs on when a member dies; so it does under the next leader,
// who finds the same as of a gang that was never bound whole.
func TestARestartDoesNotTakeOffAGangThatLacksAMemberForAWhile(t *testing.T) {
	for name, when := range map[string]func(c *cluster, die, replace func()){
		"dead and replaced before":       func(c *cluster, die, replace func()) { die(); replace(); c.settle(); c.crash() },
		"dead before, replaced after it": func(c *cluster, die, replace func()) { die(); c.settle(); c.crash(); replace() },
		"dead and replaced after it":     func(c *cluster, die, replace func()) { c.crash(); die(); replace() },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.group("g", 3)
			c.nodes(3, 1)
			c.begin()
			for i := range 3 {
				c.member("g", fmt.Sprint("m", i), 1, owned("Job", "j"))
			}
			c.expect("m0 m1 m2")
			c.pass(5 * time.Minute)
			when(c, func() {
				for _, p := range c.pods {
					if p.Name == "m1" {
						node := p.Spec.NodeName
						c.m.NodeDeleted(node)
						c.machines = slices.DeleteFunc(c.machines, func(n *corev1.Node) bool { return n.Name == node })
						c.delete(p)
					}
				}
			}, func() { c.member("g", "m3", 1, owned("Job", "j")) })
			c.pass(5 * time.Minute)
			c.expect("m0 m2")
			c.node("n9", 1)
			c.expect("m0 m2 m3")
		})
	}
}

// KubeRay makes a worker anew while the one before it still ends.
func TestThePlaceOfAMemberIsNotKeptForAReplacementThatHasOneAlready(t *testing.T) {
	c := newCluster(t)
	c.group("g", 2)
	c.nodes(3, 1)
	c.begin()
	c.member("g", "a", 1, owned("Job", "j"))
	b := c.member("g", "b", 1, owned("Job", "j"))
	c.expect("a b")
	c.change(b, deleting)
	c.member("g", "b2", 1, owned("Job", "j"))
	c.expect("a b b2")
	c.pod("small", 1)
	c.expect("a b b2")
	c.delete(c.pods[b.UID])
	c.expect("a b2 small")
}

// claims counts how often it is asked for one.
type claims struct {
	nothing
	asked int
}

func (o *claims) Claim(string, string) *corev1.PersistentVolumeClaim { o.asked++; return nil }

func TestAFloodOfObjectsIsReadOnceAFlush(t *testing.T) {
	c := newCluster(t)
	objs := &claims{}
	c.objects = objs
	c.restart(c.tree)
	c.begin()
	const waiting = 50
	for i := range waiting {
		c.pod(fmt.Sprint("p", i), 1, func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: p.Name},
			}}}
		})
	}
	c.settle()
	before := objs.asked
	for range 100 {
		c.m.ObjectsChanged()
	}
	c.settle()
	if n := objs.asked - before; n < waiting || n > 4*waiting {
		t.Errorf("claims were asked for %d times by %d pods", n, waiting)
	}
}

func TestAVictimThatCannotBeEvictedIsNotAskedForAgainAndAgain(t *testing.T) {
	c := newCluster(t, queue("a", 1, 0), queue("b", 0, 0))
	c.nodes(1, 1)
	c.begin()
	c.pod("v", 1, label("muster.dev/queue", "root.b"))
	c.expect("v")
	c.stuck = map[string]bool{"v": true}
	c.pod("p", 1, label("muster.dev/queue", "root.a"))
	c.pass(time.Minute)
	if n := len(c.work.Evicts); n < 1 || n > 15 {
		t.Errorf("%d evictions were asked for within a minute", n)
	}
}
