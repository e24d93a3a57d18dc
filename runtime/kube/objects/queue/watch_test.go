package queue

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"github.com/musterhq/muster/builtin/spec"
	api "github.com/musterhq/muster/runtime/kube/api/v1alpha1"
	"github.com/musterhq/muster/runtime/ledger"
)

// events remembers what was told, "reason: text".
type events struct {
	mu   sync.Mutex
	told []string
}

func (e *events) Event(about runtime.Object, kind, reason, text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	name := about.(*corev1.ObjectReference).Name
	e.told = append(e.told, fmt.Sprintf("%s %s on %s: %s", kind, reason, name, text))
}

func (e *events) count(part string) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range e.told {
		if strings.Contains(t, part) {
			n++
		}
	}
	return n
}

func (e *events) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Join(e.told, "\n")
}

// loop stands for the scheduler's: it has the queues, and refuses to lose one in use.
type loop struct {
	mu      sync.Mutex
	tree    *spec.Tree
	applied int
	inUse   map[string]bool // paths
}

func (l *loop) apply(t *spec.Tree) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for path := range l.inUse {
		if !strings.Contains("\n"+strings.Join(paths(t.Root, ""), "\n")+"\n", "\n"+path+"\n") {
			return &ledger.Error{Code: "queue-in-use", Text: "jobs run in " + path}
		}
	}
	l.tree, l.applied = t, l.applied+1
	return nil
}

func (l *loop) use(path string, used bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inUse = map[string]bool{}
	if used {
		l.inUse[path] = true
	}
}

func (l *loop) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tree == nil {
		return "nothing"
	}
	return strings.Join(paths(l.tree.Root, ""), "; ")
}

// eventually polls, generously.
func eventually(t *testing.T, what string, ok func() bool, more ...fmt.Stringer) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	for _, m := range more {
		t.Log(m)
	}
	t.Fatalf("not in time: %s", what)
}

// watch runs a source until the test ends.
func watch(t *testing.T, s Source, apply Apply) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Watch(ctx, apply) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Watch ended by %v", err)
		}
	})
}

const team = `
partitions:
- name: default
  queues:
  - name: root
    queues:
    - name: team
`

func configMap(text string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "muster", Name: "yunikorn-configs"},
		Data:       map[string]string{"queues.yaml": text},
	}
}

func TestAConfigMapWithErrorsIsToldOnceWithLineAndColumnAndChangesNothing(t *testing.T) {
	bad := strings.Replace(team, "- name: team", "- name: team\n      resources: {guaranteed: {vcore: 8}, max: {vcore: 4}}\n      weigth: 2", 1)
	client, told, l := fake.NewClientset(configMap(bad)), &events{}, &loop{}
	c, err := NewConfigMap(ConfigMapOptions{Client: client, Namespace: "muster", Name: "yunikorn-configs", Events: told})
	if err != nil {
		t.Fatal(err)
	}
	watch(t, c, l.apply)
	eventually(t, "an event", func() bool { return told.count("Warning InvalidQueues on yunikorn-configs") == 1 }, told)
	for _, part := range []string{
		"2 errors", "queues.yaml:8:56: error[max-below-guaranteed]: max vcore 4 of queue root.team is below its guaranteed vcore 8; raise the max",
		"queues.yaml:9:7: error[unknown-key]", "did you mean weight?",
	} {
		if told.count(part) != 1 {
			t.Errorf("no %q in\n%s", part, told)
		}
	}
	if err := c.Ready(); err == nil || !strings.Contains(err.Error(), "max-below-guaranteed") {
		t.Errorf("ready says %v", err)
	}
	if l.String() != "nothing" {
		t.Errorf("%s holds", l)
	}

	// The same text again, as a resync or an edit of a label makes it, is no news.
	again := configMap(bad)
	again.Labels = map[string]string{"a": "b"}
	replace(t, client, again)
	replace(t, client, configMap(team))
	eventually(t, "the corrected queues", func() bool { return l.String() == "root; root.team" && c.Ready() == nil }, told, l)
	if n := told.count("InvalidQueues"); n != 1 {
		t.Errorf("told %d times\n%s", n, told)
	}

	replace(t, client, configMap("partitions: [}"))
	eventually(t, "the event of a broken text", func() bool { return told.count("queues.yaml:1:13: error[yaml-syntax]") == 1 }, told)
	if l.String() != "root; root.team" || c.Ready() != nil {
		t.Errorf("%s holds, %v", l, c.Ready())
	}
	eventually(t, "that was applied", func() bool { return told.count("Normal QueuesApplied on yunikorn-configs: these queues hold") == 1 }, told)
}

func replace(t *testing.T, client *fake.Clientset, m *corev1.ConfigMap) {
	t.Helper()
	if _, err := client.CoreV1().ConfigMaps(m.Namespace).Update(t.Context(), m, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestQueuesWithJobsInThemAreNotTakenAway(t *testing.T) {
	client, told, l := fake.NewClientset(configMap(team)), &events{}, &loop{}
	c, err := NewConfigMap(ConfigMapOptions{Client: client, Namespace: "muster", Name: "yunikorn-configs", Events: told})
	if err != nil {
		t.Fatal(err)
	}
	watch(t, c, l.apply)
	eventually(t, "the queues", func() bool { return l.String() == "root; root.team" })
	l.use("root.team", true)
	replace(t, client, configMap(strings.Replace(team, "team", "other", 1)))
	eventually(t, "the refusal", func() bool { return told.count("Warning QueuesRefused") == 1 }, told)
	if told.count("jobs run in root.team [queue-in-use]; the queues before hold on") != 1 || l.String() != "root; root.team" {
		t.Errorf("%s\n%s", told, l)
	}
	l.use("root.team", false)
	c.wake() // what the alarm does in ten seconds
	eventually(t, "the other queues", func() bool { return l.String() == "root; root.other" }, l)
}

func TestWhatIsNotThereIsSaidAndWaitedFor(t *testing.T) {
	client, told, l := fake.NewClientset(), &events{}, &loop{}
	c, err := NewConfigMap(ConfigMapOptions{Client: client, Namespace: "muster", Name: "yunikorn-configs", Events: told})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Ready(); err == nil || !strings.Contains(err.Error(), "was not read") {
		t.Errorf("ready says %v", err)
	}
	watch(t, c, l.apply)
	eventually(t, "that it is missing", func() bool {
		err := c.Ready()
		return err != nil && strings.Contains(err.Error(), "there is no ConfigMap muster/yunikorn-configs")
	})
	m := configMap("")
	m.Data = map[string]string{"service.schedulingInterval": "1s"}
	if _, err := client.CoreV1().ConfigMaps("muster").Create(t.Context(), m, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "YuniKorn's default", func() bool { return strings.HasPrefix(l.String(), "root") && c.Ready() == nil }, l)
	if told.count("Warning InvalidQueues on yunikorn-configs: ConfigMap muster/yunikorn-configs has no key queues.yaml; it configures no partition, so YuniKorn's default holds") != 1 {
		t.Error(told)
	}
	m = m.DeepCopy()
	m.Data["queues.yaml"] = "partitions: 7\n"
	replace(t, client, m)
	eventually(t, "an error, and what holds", func() bool { return told.count("; YuniKorn's default holds on until it is mended") == 1 }, told)
	delete(m.Data, "queues.yaml")
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	if _, err := zip.Write([]byte(team)); err != nil || zip.Close() != nil {
		t.Fatal(err)
	}
	m = m.DeepCopy()
	m.BinaryData = map[string][]byte{"queues.yaml.gz": packed.Bytes()}
	replace(t, client, m)
	eventually(t, "the packed queues", func() bool { return l.String() == "root; root.team" }, told)
	m = m.DeepCopy()
	m.BinaryData, m.Data = nil, map[string]string{"queues.yaml": "# none any more\n"}
	replace(t, client, m)
	eventually(t, "that nothing is configured", func() bool { return told.count("queues.yaml is empty; the queues before hold on") == 1 }, told)
	if l.String() != "root; root.team" {
		t.Errorf("who had queues has %s", l)
	}
}

func TestManyProblemsFitIntoOneEvent(t *testing.T) {
	bad := team + strings.Repeat("    - name: \"a b\"\n      weight: many\n", 200)
	client, told := fake.NewClientset(configMap(bad)), &events{}
	c, err := NewConfigMap(ConfigMapOptions{Client: client, Namespace: "muster", Name: "yunikorn-configs", Events: told})
	if err != nil {
		t.Fatal(err)
	}
	watch(t, c, (&loop{}).apply)
	eventually(t, "an event", func() bool { return told.count("InvalidQueues") == 1 }, told)
	text := strings.TrimPrefix(told.String(), "Warning InvalidQueues on yunikorn-configs: ")
	if len(text) > 1024 || !strings.HasPrefix(text, "400 errors") || !strings.Contains(text, "more") || strings.HasSuffix(text, "and 0 more") {
		t.Errorf("%d bytes: %s", len(text), text)
	}
}

func TestAFileIsFollowed(t *testing.T) {
	path, l := filepath.Join(t.TempDir(), "queues.yaml"), &loop{}
	var mu sync.Mutex
	var said []string
	f := NewFile(FileOptions{Path: path, Every: 5 * time.Millisecond, Problems: func(err error) {
		mu.Lock()
		defer mu.Unlock()
		said = append(said, err.Error())
	}})
	heard := func(n int, part string) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(said) == n && strings.Contains(said[n-1], part)
		}
	}
	watch(t, f, l.apply)
	eventually(t, "that it is missing", heard(1, "no such file"))
	write := func(text string) {
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write(team)
	eventually(t, "the queues", func() bool { return l.String() == "root; root.team" && f.Ready() == nil })
	write(strings.Replace(team, "team", "a b", 1))
	eventually(t, "the error", heard(2, "queues.yaml:7:13: error[queue-name]"))
	if l.String() != "root; root.team" {
		t.Error(l)
	}
	write(strings.Replace(team, "default", "gpu", 1))
	eventually(t, "no partition", heard(3, "has no partition default"))
}

// queues is a fake cluster with Queue objects.
type queues struct {
	*dynamicfake.FakeDynamicClient
	t *testing.T
}

func newQueues(t *testing.T) queues {
	scheme := runtime.NewScheme()
	if err := api.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	return queues{dynamicfake.NewSimpleDynamicClient(scheme), t}
}

// put creates or replaces the spec of an object, and counts its generation.
func (q queues) put(name, text string) {
	q.t.Helper()
	var spec map[string]any
	if err := yaml.Unmarshal([]byte(text), &spec); err != nil {
		q.t.Fatal(err)
	}
	c := q.Resource(api.Queues)
	u, err := c.Get(q.t.Context(), name, metav1.GetOptions{})
	if err == nil {
		u.Object["spec"] = spec
		u.SetGeneration(u.GetGeneration() + 1)
		_, err = c.Update(q.t.Context(), u, metav1.UpdateOptions{})
	} else {
		u = &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
		u.SetGroupVersionKind(api.QueueKind)
		u.SetName(name)
		u.SetGeneration(1)
		_, err = c.Create(q.t.Context(), u, metav1.CreateOptions{})
	}
	if err != nil {
		q.t.Fatal(err)
	}
}

func (q queues) drop(name string) {
	if err := q.Resource(api.Queues).Delete(q.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		q.t.Fatal(err)
	}
}

func (q queues) status(name string) api.QueueStatus {
	q.t.Helper()
	u, err := q.Resource(api.Queues).Get(q.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		q.t.Fatal(err)
	}
	var out api.Queue
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &out); err != nil {
		q.t.Fatal(err)
	}
	return out.Status
}

// running is the number of running jobs, -1 if it was not written.
func (q queues) running(name string) int64 {
	if n := q.status(name).RunningJobs; n != nil {
		return *n
	}
	return -1
}

// accepted is the condition in short: "True Applied", "False Invalid".
func (q queues) accepted(name string) string {
	for _, c := range q.status(name).Conditions {
		if c.Type == api.Accepted {
			return fmt.Sprintf("%s %s %d", c.Status, c.Reason, c.ObservedGeneration)
		}
	}
	return ""
}

// patches counts the writes of status so far.
func (q queues) patches() (n int) {
	for _, a := range q.Actions() {
		if _, ok := a.(clienttesting.PatchAction); ok {
			n++
		}
	}
	return n
}

func TestQueueObjectsMakeATreeAndAreToldWhatBecameOfThem(t *testing.T) {
	q, told, l := newQueues(t), &events{}, &loop{}
	s, err := NewObjects(ObjectsOptions{Client: q, Events: told, Every: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	watch(t, s, l.apply)
	s.Report(nil) // it leads
	eventually(t, "that there is none", func() bool {
		err := s.Ready()
		return err != nil && strings.Contains(err.Error(), "there are no Queue objects; create one")
	})
	q.put("llm", `{parent: research, guaranteed: {nvidia.com/gpu: 4}}`)
	eventually(t, "that the parent is missing", func() bool { return q.accepted("llm") == "False ParentMissing 1" })
	q.put("research", `{guaranteed: {nvidia.com/gpu: 4}}`)
	eventually(t, "both", func() bool {
		return q.accepted("llm") == "True Applied 1" && q.accepted("research") == "True Applied 1"
	}, told)
	if got, want := l.String(), "root; root.research guaranteed [{nvidia.com/gpu 4000}]; root.research.llm guaranteed [{nvidia.com/gpu 4000}]"; got != want {
		t.Errorf("holds %s", got)
	}

	q.put("llm", `{parent: research, guaranteed: {nvidia.com/gpu: 8}, max: {nvidia.com/gpu: 6}}`)
	eventually(t, "the refusal", func() bool { return q.accepted("llm") == "False Invalid 2" }, told)
	st := q.status("llm")
	if st.State != api.QueueOutdated || !strings.HasPrefix(st.Conditions[0].Message, "spec.max[nvidia.com/gpu]: max nvidia.com/gpu 6 of queue root.research.llm is below its guaranteed nvidia.com/gpu 8") {
		t.Errorf("%+v", st)
	}
	eventually(t, "its event", func() bool { return told.count("Warning Invalid on llm: spec.max[nvidia.com/gpu]") > 0 }, told)
	if told.count("Warning Invalid on llm: spec.max[nvidia.com/gpu]") != 1 || s.Ready() != nil {
		t.Error(told)
	}
	before := l.applied
	q.put("other", `{}`)
	eventually(t, "another queue meanwhile", func() bool { return q.accepted("other") == "True Applied 1" })
	if l.applied != before+1 {
		t.Errorf("applied %d times", l.applied-before)
	}
}

func TestADeletedQueueHoldsUntilItsJobsAreGoneAndKeepsNobodyElseWaiting(t *testing.T) {
	q, told, l := newQueues(t), &events{}, &loop{}
	q.put("parent", `{}`)
	q.put("busy", `{parent: parent}`)
	q.put("idle", `{parent: parent}`)
	s, err := NewObjects(ObjectsOptions{Client: q, Events: told})
	if err != nil {
		t.Fatal(err)
	}
	watch(t, s, l.apply)
	s.Report(nil) // it leads
	eventually(t, "three queues", func() bool { return l.String() == "root; root.parent; root.parent.busy; root.parent.idle" }, l)
	l.use("root.parent.busy", true)
	for _, name := range []string{"parent", "busy", "idle"} {
		q.drop(name)
	}
	q.put("new", `{weight: 2}`)
	eventually(t, "what is not in use to go, and the new queue to come", func() bool { return l.String() == "root; root.new; root.parent; root.parent.busy" }, l, told)
	eventually(t, "that the new one holds", func() bool { return q.accepted("new") == "True Applied 1" })
	if told.count("Warning InUse on busy: it is deleted, and holds until no job needs it: jobs run in root.parent.busy [queue-in-use]") != 1 {
		t.Error(told)
	}
	l.use("", false)
	s.wake() // what the alarm does in ten seconds
	eventually(t, "that it goes", func() bool { return l.String() == "root; root.new" }, l)
}

func TestWhatIsUsedIsWrittenOnChangeAndNotMoreOftenThanAllowed(t *testing.T) {
	q, l := newQueues(t), &loop{}
	q.put("team", `{guaranteed: {nvidia.com/gpu: 8}}`)
	failures := 0
	q.PrependReactor("patch", "queues", func(clienttesting.Action) (bool, runtime.Object, error) {
		if failures++; failures == 1 {
			return true, nil, errors.New("the server is away")
		}
		return false, nil, nil
	})
	var failed atomic.Int64
	s, err := NewObjects(ObjectsOptions{Client: q, Every: 20 * time.Millisecond, Failed: func(error) { failed.Add(1) }})
	if err != nil {
		t.Fatal(err)
	}
	watch(t, s, l.apply)
	s.Report(nil) // it leads
	eventually(t, "the condition, at the second try", func() bool { return q.accepted("team") == "True Applied 1" })
	if failed.Load() != 1 {
		t.Errorf("%d failures were told", failed.Load())
	}
	gpu := func(n int64) spec.Resources {
		return spec.GPUs(n).Set("memory", 3<<30).Set("nvidia.com/gpu:H100", spec.GPUs(n)[0].Amount)
	}
	use := func(n int64) map[string]Use {
		return map[string]Use{
			"root": {Used: gpu(99)},
			"root.team": {
				Guaranteed: gpu(8), Used: gpu(n), Pending: spec.Resources{{Name: "nvidia.com/gpu", Amount: 500}}, Running: n, Waiting: 1,
			},
		}
	}
	s.Report(use(3))
	eventually(t, "what is used", func() bool { return q.running("team") == 3 })
	st := q.status("team")
	if *st.GPUs != (api.GPUs{Guaranteed: "8", Max: "-", Used: "3", Pending: "500m"}) {
		t.Errorf("GPUs %+v", st.GPUs)
	}
	if a, b, c := st.Used["nvidia.com/gpu:H100"], st.Used["memory"], st.Pending["nvidia.com/gpu"]; a.String() != "3" || b.String() != "3Gi" || c.String() != "500m" || st.Path != "root.team" {
		t.Errorf("%+v", st)
	}
	written := q.patches()
	for range 50 {
		s.Report(use(3))
	}
	for n := range int64(100) { // a storm of changes
		s.Report(use(n))
	}
	eventually(t, "the last of them", func() bool { return q.running("team") == 99 })
	if n := q.patches() - written; n > 20 {
		t.Errorf("%d writes", n)
	}
	s.Report(map[string]Use{"root.team": {}})
	eventually(t, "nothing", func() bool {
		st := q.status("team")
		return len(st.Used) == 0 && *st.RunningJobs == 0 && st.GPUs.Used == "0"
	})
}

func TestAReplicaThatStandsByLeavesTheStatusToTheOneThatLeads(t *testing.T) {
	q := newQueues(t)
	q.put("team", `{guaranteed: {nvidia.com/gpu: 8}}`)
	replica := func() (*Objects, *loop) {
		l := &loop{}
		s, err := NewObjects(ObjectsOptions{Client: q, Every: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		watch(t, s, l.apply)
		eventually(t, "a tree", func() bool { return s.Ready() == nil })
		return s, l
	}
	use := func(n int64) map[string]Use { return map[string]Use{"root.team": {Used: spec.GPUs(n), Running: n}} }

	leader, l := replica()
	leader.Report(use(0))
	eventually(t, "that nothing is used", func() bool { return q.running("team") == 0 })
	standby, _ := replica()
	leader.Report(use(4))
	eventually(t, "what is used then", func() bool { return q.running("team") == 4 })
	before := q.patches()
	standby.status.flush(t.Context())
	if n := q.patches() - before; n != 0 {
		t.Errorf("the replica that stands by has written %d times; %d jobs run by the status", n, q.running("team"))
	}
	l.use("root.team.none", true) // the leader can't apply what is changed, the other could
	q.put("team", `{guaranteed: {nvidia.com/gpu: 9}}`)
	eventually(t, "that jobs are in the way", func() bool { return q.accepted("team") == "False InUse 2" })
	eventually(t, "both to have seen it", func() bool { return !standby.status.idle("team", 2) })
	standby.status.flush(t.Context())
	if got := q.accepted("team"); got != "False InUse 2" {
		t.Errorf("the replica that stands by says %s", got)
	}

	// It comes to lead, and nothing is used, as when it had read the object first.
	eventually(t, "what is used after all", func() bool {
		standby.Report(use(0)) // every few seconds
		return q.running("team") == 0 && q.accepted("team") == "True Applied 2"
	})
	if got := q.status("team").GPUs.Used; got != "0" {
		t.Errorf("the status says that %s GPUs are used", got)
	}
}

// idle says that nothing was said of a generation of an object.
func (w *statusWriter) idle(name string, generation int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.rows[name]
	return r == nil || r.object.Generation != generation
}

func TestAQueueThatWasReplacedWhileTheWatchWasBrokenIsReadAnew(t *testing.T) {
	version := func(uid string, generation int64) *unstructured.Unstructured {
		u := &unstructured.Unstructured{}
		u.SetUID(types.UID(uid))
		u.SetGeneration(generation)
		return u
	}
	before := version("1", 1)
	for _, c := range []struct {
		now  *unstructured.Unstructured
		want bool
	}{{version("1", 1), false}, {version("1", 2), true}, {version("2", 1), true}} {
		if got := changed(before, c.now); got != c.want {
			t.Errorf("UID %s, generation %d: %v", c.now.GetUID(), c.now.GetGeneration(), got)
		}
	}
}
