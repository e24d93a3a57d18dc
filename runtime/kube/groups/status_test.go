package groups_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/musterhq/muster/runtime/kube/groups"
)

var (
	nativeKey  = groups.Key{API: groups.Native, Namespace: "team-a", Name: "sample-cluster"}
	volcanoKey = groups.Key{API: groups.Volcano, Namespace: "team-a", Name: "ray-sample-pg"}
	coschedKey = groups.Key{API: groups.Coscheduling, Namespace: "team-a", Name: "sample"}
)

// writing is a cluster whose groups have their status written.
type writing struct {
	*cluster
	status *groups.Status
}

func newWriting(t *testing.T) *writing {
	c := newCluster(t)
	c.create("v1alpha2", manifest(t, "native-v1alpha2")[1])
	c.create("volcano", manifest(t, "kuberay-volcano")...)
	c.create("coscheduling", manifest(t, "kuberay-scheduler-plugins")...)
	w := &writing{c, groups.NewStatus(groups.StatusOptions{
		Dynamic: c.dynamic, Clock: c.clock, Rate: 1000, Log: slog.New(slog.NewTextHandler(c.log, nil)),
		Served: func() map[groups.API]string {
			return map[groups.API]string{groups.Native: "v1alpha2", groups.Volcano: "v1beta1", groups.Coscheduling: "v1alpha1"}
		},
	})}
	return w
}

func (w *writing) run() {
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.status.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
}

// now is what the object's status says, as one line.
func (w *writing) now(k groups.Key) string {
	name := map[groups.API]string{groups.Native: "v1alpha2", groups.Volcano: "volcano", groups.Coscheduling: "coscheduling"}[k.API]
	o, err := w.dynamic.Resource(resources[name]).Namespace(k.Namespace).Get(w.t.Context(), k.Name, metav1.GetOptions{})
	if err != nil {
		return err.Error()
	}
	return line(o)
}

func line(o *unstructured.Unstructured) string {
	status, _ := o.Object["status"].(map[string]any)
	var out []string
	for _, key := range []string{"phase", "running", "succeeded", "failed", "scheduleStartTime"} {
		if v, ok := status[key]; ok {
			out = append(out, fmt.Sprintf("%s=%v", key, v))
		}
	}
	list, _ := status["conditions"].([]any)
	for _, c := range list {
		m := c.(map[string]any)
		out = append(out, fmt.Sprintf("%v=%v(%v: %v)@%v", m["type"], m["status"], m["reason"], m["message"], m["lastTransitionTime"]))
	}
	return strings.Join(out, " ")
}

func (w *writing) says(k groups.Key, want string) {
	w.t.Helper()
	w.until(fmt.Sprintf("%s says %s, not %s", k, want, w.now(k)), func() bool { return w.now(k) == want })
}

// writes counts the updates of status that reached the server.
func (w *writing) writes() int {
	n := 0
	for _, a := range w.dynamic.Actions() {
		if a.GetVerb() == "update" {
			n++
		}
	}
	return n
}

func TestANativeGroupIsScheduledOnceAndStaysSo(t *testing.T) {
	w := newWriting(t)
	w.run()
	w.status.Set(nativeKey, groups.State{Members: 3, Reason: groups.Unschedulable, Text: "2 of 3 found no node"})
	w.says(nativeKey, "PodGroupScheduled=False(Unschedulable: 2 of 3 found no node)@2001-09-09T01:46:40Z")

	w.clock.Advance(1e18 + int64(time.Minute))
	w.status.Set(nativeKey, groups.State{Members: 3, Reason: groups.Unschedulable, Text: "1 of 3 found no node"})
	w.says(nativeKey, "PodGroupScheduled=False(Unschedulable: 1 of 3 found no node)@2001-09-09T01:46:40Z") // the text changed, not the status

	w.status.Set(nativeKey, groups.State{Members: 3, Bound: 3})
	w.says(nativeKey, "PodGroupScheduled=True(Scheduled: <nil>)@2001-09-09T01:47:40Z")

	w.status.Set(nativeKey, groups.State{Members: 3, Bound: 3, Preempted: "for team-b"})
	w.says(nativeKey, "PodGroupScheduled=True(Scheduled: <nil>)@2001-09-09T01:47:40Z DisruptionTarget=True(PreemptionByScheduler: for team-b)@2001-09-09T01:47:40Z")

	w.status.Set(nativeKey, groups.State{Members: 3, Reason: groups.Unschedulable, Text: "no room"})
	w.says(nativeKey, "PodGroupScheduled=True(Scheduled: <nil>)@2001-09-09T01:47:40Z DisruptionTarget=False(Scheduled: the preemption is over)@2001-09-09T01:47:40Z")
}

func TestAVolcanoGroupGoesThroughVolcanosPhases(t *testing.T) {
	w := newWriting(t)
	w.run()
	for _, step := range []struct {
		state groups.State
		want  string
	}{
		{groups.State{Members: 3, Reason: groups.Unschedulable, Text: "no quota"}, "phase=Pending Unschedulable=True(NotEnoughResources: no quota)@2001-09-09T01:46:40Z"},
		{groups.State{Members: 3, Admitted: true, Reason: groups.Unschedulable, Text: "no node"}, "phase=Inqueue Unschedulable=True(NotEnoughResources: no node)@2001-09-09T01:46:40Z"},
		{groups.State{Members: 3, Bound: 3, Running: 1}, "phase=Running running=1 Scheduled=True(tasks in the gang are ready to be scheduled: <nil>)@2001-09-09T01:46:40Z"},
		{groups.State{Members: 3, Bound: 2, Running: 2}, "phase=Unknown running=2 Scheduled=True(tasks in the gang are ready to be scheduled: <nil>)@2001-09-09T01:46:40Z"},
		{groups.State{Members: 3, Bound: 3, Succeeded: 3}, "phase=Completed succeeded=3 Scheduled=True(tasks in the gang are ready to be scheduled: <nil>)@2001-09-09T01:46:40Z"},
	} {
		w.status.Set(volcanoKey, step.state)
		w.says(volcanoKey, step.want)
	}
}

// Volcano's controller makes the pods of a Job when the group is Inqueue.
func TestAVolcanoGroupWithoutItsPodsIsInqueueSoThatTheyAreMade(t *testing.T) {
	w := newWriting(t)
	w.run()
	for _, step := range []struct {
		state groups.State
		want  string
	}{
		{groups.State{}, "phase=Inqueue"},
		{groups.State{Members: 1, Reason: groups.Unschedulable, Text: "not all"}, "phase=Inqueue Unschedulable=True(NotEnoughResources: not all)@2001-09-09T01:46:40Z"},
		{groups.State{Members: 1, Reason: groups.SchedulerError, Text: "no queue"}, "phase=Pending Unschedulable=True(NotEnoughResources: no queue)@2001-09-09T01:46:40Z"},
		{groups.State{Members: 3, Bound: 3, Succeeded: 3}, "phase=Completed succeeded=3 Scheduled=True(tasks in the gang are ready to be scheduled: <nil>)@2001-09-09T01:46:40Z"},
	} {
		w.status.Set(volcanoKey, step.state)
		w.says(volcanoKey, step.want)
	}
	w.status.Set(volcanoKey, groups.State{}) // its pods were removed
	w.status.Set(nativeKey, groups.State{Members: 3, Bound: 3})
	w.says(nativeKey, "PodGroupScheduled=True(Scheduled: <nil>)@2001-09-09T01:46:40Z")
	w.says(volcanoKey, "phase=Completed succeeded=3 Scheduled=True(tasks in the gang are ready to be scheduled: <nil>)@2001-09-09T01:46:40Z")
}

func TestACoschedulingGroupGoesThroughItsPhases(t *testing.T) {
	w := newWriting(t)
	w.run()
	began := time.Unix(1e9, 0)
	for _, step := range []struct {
		state groups.State
		want  string
	}{
		{groups.State{Members: 2}, "phase=Pending"},
		{groups.State{Members: 3}, "phase=PreScheduling"},
		{groups.State{Members: 3, Bound: 1, Began: began}, "phase=Scheduling scheduleStartTime=2001-09-09T01:46:40Z"},
		{groups.State{Members: 3, Bound: 3, Running: 1, Began: began}, "phase=Scheduled running=1 scheduleStartTime=2001-09-09T01:46:40Z"},
		{groups.State{Members: 3, Bound: 3, Running: 3, Began: began}, "phase=Running running=3 scheduleStartTime=2001-09-09T01:46:40Z"},
		{groups.State{Members: 3, Bound: 3, Running: 2, Failed: 1, Began: began}, "phase=Failed running=2 failed=1 scheduleStartTime=2001-09-09T01:46:40Z"},
		{groups.State{Members: 3, Bound: 3, Succeeded: 3, Began: began}, "phase=Finished succeeded=3 scheduleStartTime=2001-09-09T01:46:40Z"},
	} {
		w.status.Set(coschedKey, step.state)
		w.says(coschedKey, step.want)
	}
}

func TestOnlyTheNewestStateIsWrittenAndOnlyIfItSaysSomethingNew(t *testing.T) {
	w := newWriting(t)
	for i := range 1000 {
		w.status.Set(volcanoKey, groups.State{Members: int32(i)}) // nobody writes yet
	}
	w.status.Set(volcanoKey, groups.State{Members: 3, Bound: 3, Running: 3})
	w.run()
	w.says(volcanoKey, "phase=Running running=3 Scheduled=True(tasks in the gang are ready to be scheduled: <nil>)@2001-09-09T01:46:40Z")
	for range 100 {
		w.status.Set(volcanoKey, groups.State{Members: 4, Bound: 4, Running: 3}) // the object has nothing of this
		w.status.Set(volcanoKey, groups.State{Members: 3, Bound: 3, Running: 3})
	}
	w.status.Set(coschedKey, groups.State{Members: 3}) // behind all those
	w.says(coschedKey, "phase=PreScheduling")
	if n := w.writes(); n != 2 {
		t.Errorf("%d writes for two things to say", n)
	}
}

func TestAConflictIsReadAnewAndTriedAgain(t *testing.T) {
	w := newWriting(t)
	conflicts := 2
	w.dynamic.PrependReactor("update", "podgroups", func(clienttesting.Action) (bool, runtime.Object, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if conflicts--; conflicts >= 0 {
			return true, nil, apierrors.NewConflict(resources["volcano"].GroupResource(), "ray-sample-pg", fmt.Errorf("changed"))
		}
		return false, nil, nil
	})
	w.run()
	w.status.Set(volcanoKey, groups.State{Members: 3, Admitted: true})
	w.says(volcanoKey, "phase=Inqueue")
	if w.log.String() != "" {
		t.Errorf("log:\n%s", w.log)
	}
}

func TestAGroupThatHasGoneAndAnAPIThatIsNotServedCostNothing(t *testing.T) {
	w := newWriting(t)
	w.run()
	w.status.Set(groups.Key{API: groups.Volcano, Namespace: "team-a", Name: "gone"}, groups.State{Members: 1})
	w.status.Set(groups.Key{API: "example.org", Namespace: "team-a", Name: "x"}, groups.State{Members: 1})
	w.status.Set(coschedKey, groups.State{Members: 3})
	w.says(coschedKey, "phase=PreScheduling")
	if n := w.writes(); n != 1 {
		t.Errorf("%d writes", n)
	}
}

func TestThatWritingIsForbiddenIsToldOnce(t *testing.T) {
	w := newWriting(t)
	w.dynamic.PrependReactor("update", "podgroups", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(resources["volcano"].GroupResource(), "x", fmt.Errorf("no rule"))
	})
	w.run()
	w.status.Set(volcanoKey, groups.State{Members: 3, Admitted: true})
	w.status.Set(coschedKey, groups.State{Members: 3})
	w.until("both were tried", func() bool { return w.writes() >= 3 })
	if n := strings.Count(w.log.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings:\n%s", n, w.log)
	}
}
