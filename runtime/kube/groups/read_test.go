package groups_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/musterhq/muster/runtime/kube/groups"
	"github.com/musterhq/muster/runtime/kube/groups/groupstest"
)

const taskGroups = "yunikorn.apache.org/task-groups"

// pod makes a pod of team-a; keys that begin with "label:" are labels, others annotations.
func pod(keys ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "team-a", Name: "p", Labels: map[string]string{}, Annotations: map[string]string{},
	}}
	for i := 0; i < len(keys); i += 2 {
		if l, ok := strings.CutPrefix(keys[i], "label:"); ok {
			p.Labels[l] = keys[i+1]
		} else {
			p.Annotations[keys[i]] = keys[i+1]
		}
	}
	return p
}

func app(json string) *corev1.Pod {
	return pod("label:applicationId", "a", "yunikorn.apache.org/task-group-name", "workers", taskGroups, json)
}

func TestTaskGroupsThatMakeNoSenseCostWhatIsWrongAndNoMore(t *testing.T) {
	for _, c := range []struct {
		name, json string
		code       string // of the one problem, "" if there must be none
		where      string // in the problem's text or field
		fatal      bool
		min        int32
		groups     []groups.Group
	}{
		{"no JSON at all", "workers: 2", "bad-task-groups", "line 1, column 2", false, 0, nil},
		{"cut off", `[{"name":"workers","minMember":2`, "bad-task-groups", "ends in the middle", false, 0, nil},
		{"a comma too many, on the third line", "[\n {\"name\":\"workers\"},\n ]", "bad-task-groups", "line 3", false, 0, nil},
		{"an object in place of a list", `{"name":"workers"}`, "bad-task-groups", "a list of task groups", false, 0, nil},
		{"a list of texts", `["workers"]`, "bad-task-groups", "a task group", false, 0, nil},
		{"text after the list", `[] []`, "bad-task-groups", "after the list", false, 0, nil},
		{"no groups", `[]`, "", "", false, 0, nil},
		{"elastic among others", `[{"name":"a","minMember":0},{"name":"workers","minMember":2}]`, "", "", false, -1, []groups.Group{{Name: "a"}, {Name: "workers", Min: 2}}},
		{"a negative minimum", `[{"name":"a","minMember":-1},{"name":"workers","minMember":2}]`, "bad-min", "[0].minMember", false, -1, []groups.Group{{Name: "a"}, {Name: "workers", Min: 2}}},
		{"a minimum no cluster could meet", `[{"name":"workers","minMember":2147483647}]`, "bad-min", "at most", true, -1, []groups.Group{{Name: "workers"}}},
		{"a minimum beyond all integers", `[{"name":"workers","minMember":1e300}]`, "bad-group", "minMember", false, -1, []groups.Group{{Name: "workers"}}},
		{"half a pod", `[{"name":"workers","minMember":1.5}]`, "bad-group", "[0].minMember", false, -1, []groups.Group{{Name: "workers"}}},
		{"no minimum", `[{"name":"workers"}]`, "no-min", "workers", false, -1, []groups.Group{{Name: "workers"}}},
		{"a group without a name", `[{"minMember":1},{"name":"workers","minMember":2}]`, "no-group-name", "[0]", false, -1, []groups.Group{{Name: "workers", Min: 2}}},
		{"two groups of one name", `[{"name":"workers","minMember":2},{"name":"workers","minMember":9}]`, "duplicate-group", "[1]", false, -1, []groups.Group{{Name: "workers", Min: 2}}},
		{"a key given twice", `[{"name":"workers","minMember":1,"minMember":2}]`, "duplicate-key", "[0].minMember", false, -1, []groups.Group{{Name: "workers", Min: 2}}},
		{"a key nobody knows", `[{"name":"workers","minMember":2,"minMembers":3}]`, "unknown-field", "minMembers", false, -1, []groups.Group{{Name: "workers", Min: 2}}},
		{"a quantity that is none", `[{"name":"workers","minMember":2,"minResource":{"cpu":"two","memory":"1Gi"}}]`, "bad-quantity", "cpu", false, -1, []groups.Group{{Name: "workers", Min: 2, Request: amountsOf("memory", 1<<30)}}},
		{"a negative quantity", `[{"name":"workers","minMember":2,"minResource":{"cpu":"-1"}}]`, "bad-quantity", "negative", false, -1, []groups.Group{{Name: "workers", Min: 2, Request: amountsOf()}}},
		{"more than there is", `[{"name":"workers","minMember":2,"minResource":{"memory":"9000P"}}]`, "bad-quantity", "too large", false, -1, []groups.Group{{Name: "workers", Min: 2, Request: amountsOf()}}},
		{"a bomb of an exponent", `[{"name":"workers","minMember":2,"minResource":{"cpu":"1e999999999"}}]`, "bad-quantity", "exponent", false, -1, []groups.Group{{Name: "workers", Min: 2, Request: amountsOf()}}},
		{"vcore and a bare number", `[{"name":"workers","minMember":2,"minResource":{"vcore":0.5}}]`, "", "", false, -1, []groups.Group{{Name: "workers", Min: 2, Request: amountsOf("cpu", 500)}}},
		{"the pod's own group missing", `[{"name":"head","minMember":1}]`, "unknown-group", "workers", false, -1, []groups.Group{{Name: "head", Min: 1}}},
		{"nothing but blanks", "  ", "bad-task-groups", "ends in the middle", false, 0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, problems := groups.Read(app(c.json), noObjects{}, groups.Options{})
			if m.Job != "team-a/yunikorn/a" || m.Dialect != "yunikorn" || m.Group != "workers" {
				t.Errorf("the pod's job was lost: %+v", m)
			}
			if m.Info.Min != c.min {
				t.Errorf("min %d, want %d", m.Info.Min, c.min)
			}
			if d := cmp.Diff(c.groups, m.Info.Groups); d != "" {
				t.Errorf("groups (-want +got):\n%s", d)
			}
			if c.code == "" {
				if len(problems) > 0 {
					t.Errorf("problems %v", problems)
				}
				return
			}
			if len(problems) != 1 || problems[0].Code != c.code || problems[0].Fatal != c.fatal || !strings.Contains(problems[0].String(), c.where) {
				t.Errorf("problems %v, want one %s (fatal %t) that says %q", problems, c.code, c.fatal, c.where)
			}
		})
	}
}

func TestAPodThatSaysSomethingSenselessIsToldWhereAndWhatToWrite(t *testing.T) {
	for _, c := range []struct {
		name string
		pod  *corev1.Pod
		code string
	}{
		{"a notice without unit", pod(groups.KeyNotice, "90"), "bad-duration"},
		{"a negative duration", pod(groups.KeyDuration, "-1h"), "bad-duration"},
		{"checkpoints by the word", pod(groups.KeyCheckpointEvery, "often"), "bad-duration"},
		{"a restart cost in money", pod(groups.KeyRestartCost, "5$"), "bad-duration"},
		{"a deadline without zone", pod(groups.KeyDeadline, "2026-11-30 18:00"), "bad-time"},
		{"a maybe", pod(groups.KeyNonPreemptible, "maybe"), "bad-bool"},
		{"a gang of minus two", pod(groups.KeyGangMin, "-2"), "bad-number"},
		{"a gang of many", pod(groups.KeyGangMin, "many"), "bad-number"},
		{"a gang beyond all clusters", pod(groups.KeyGangMin, "2000000"), "bad-min"},
		{"a gang declared twice", pod("label:applicationId", "a", taskGroups, `[{"name":"a","minMember":1}]`, groups.KeyGangMin, "2"), "ignored-annotation"},
		{"a gang of a pod that belongs to nothing", pod(groups.KeyGangMin, "4"), "ignored-annotation"},
		{"a user that is no JSON", pod("label:applicationId", "a", "yunikorn.apache.org/user.info", "ada"), "bad-user"},
		{"a parameter with a blank", pod("label:applicationId", "a", "yunikorn.apache.org/schedulingPolicyParameters", "gangSchedulingStyle: Hard"), "bad-parameter"},
		{"a timeout in words", pod("label:applicationId", "a", "yunikorn.apache.org/schedulingPolicyParameters", "placeholderTimeoutInSeconds=1m"), "bad-parameter"},
		{"allow-preemption: no", pod("label:applicationId", "a", "yunikorn.apache.org/allow-preemption", "no"), "bad-bool"},
		{"a placeholder of YuniKorn's", pod("label:applicationId", "a", "yunikorn.apache.org/placeholder", "true"), "placeholder"},
		{"task groups without application", pod("yunikorn.apache.org/task-group-name", "a"), "no-application"},
		{"a Kueue group without count", pod("label:kueue.x-k8s.io/pod-group-name", "g"), "no-count"},
		{"KAI's preemptibility misspelt", pod("label:kai.scheduler/queue", "q", "label:kai.scheduler/preemptibility", "never"), "bad-preemptibility"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, problems := groups.Read(c.pod, noObjects{}, groups.Options{})
			if m.Job == "" || m.Dialect == "" {
				t.Errorf("no job: %+v", m)
			}
			if !slices.Contains(codes(problems), c.code) {
				t.Fatalf("problems %v, want %s", problems, c.code)
			}
			for _, p := range problems {
				if p.Field == "" || p.Text == "" || p.Hint == "" && !p.Fatal {
					t.Errorf("%+v does not say where, what or what instead", p)
				}
			}
		})
	}
}

func TestAPodWaitsForItsGroupObjectAndNoLonger(t *testing.T) {
	for _, c := range []struct {
		name string
		pod  *corev1.Pod
		api  groups.API
	}{
		{"kuberay-volcano", nil, groups.Volcano},
		{"kuberay-scheduler-plugins", nil, groups.Coscheduling},
		{"native-v1beta1", nil, groups.Native},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := groupstest.Load(c.name)
			if err != nil {
				t.Fatal(err)
			}
			before, _ := groups.Read(f.Pods[0], noObjects{}, groups.Options{})
			after, _ := groups.Read(f.Pods[0], f.Table(), groups.Options{})
			if before.Refers == nil || before.Refers.API != c.api || !strings.Contains(before.Wait, before.Refers.Name) {
				t.Errorf("without the object: %+v", before)
			}
			if after.Wait != "" || after.Job != before.Job || after.Info.Min != 3 {
				t.Errorf("with the object: %+v", after)
			}
		})
	}
}

func TestHowLongAGangOfYuniKornsWaits(t *testing.T) {
	for _, c := range []struct {
		name, parameters string
		timeout          time.Duration
		soft             bool
	}{
		{"nothing said: all of it or nothing", "", 0, false},
		{"a style alone", "gangSchedulingStyle=Soft", 0, true},
		{"a timeout alone ends in YuniKorn's default style, which is soft", "placeholderTimeoutInSeconds=60", time.Minute, true},
		{"hard, before the timeout", "gangSchedulingStyle=Hard placeholderTimeoutInSeconds=60", time.Minute, false},
		{"hard, after the timeout", "placeholderTimeoutInSeconds=60 gangSchedulingStyle=Hard", time.Minute, false},
		{"a style that there is not", "gangSchedulingStyle=hard", 0, true},
		{"a timeout that is none", "placeholderTimeoutInSeconds=soon", 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, _ := groups.Read(pod("label:applicationId", "a", "yunikorn.apache.org/schedulingPolicyParameters", c.parameters), noObjects{}, groups.Options{})
			if m.Info.GangTimeout != c.timeout || m.Info.Soft != c.soft {
				t.Errorf("timeout %s, soft %t; want %s, %t", m.Info.GangTimeout, m.Info.Soft, c.timeout, c.soft)
			}
		})
	}
}

func TestWhichDialectCountsAndWhichQueue(t *testing.T) {
	spark := pod("label:spark-app-selector", "s", "label:spark-role", "driver")
	ours := spark.DeepCopy()
	ours.Spec.SchedulerName = "yunikorn"
	static := pod()
	static.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "n", Controller: ptr(true)}}
	strange := pod()
	strange.OwnerReferences = []metav1.OwnerReference{{APIVersion: "example.org/v2", Kind: "Train", Name: "t", Controller: ptr(true)}}
	legacy := pod("label:queue", "root.x")
	legacy.Spec.SchedulerName = "yunikorn"
	for _, c := range []struct {
		name                string
		pod                 *corev1.Pod
		job, dialect, queue string
	}{
		{"the label before the annotation", pod("label:yunikorn.apache.org/app-id", "new", "yunikorn.apache.org/app-id", "mid", "label:applicationId", "old", "label:queue", "root.q"), "team-a/yunikorn/new", "yunikorn", "root.q"},
		{"the annotation before the old label", pod("yunikorn.apache.org/app-id", "mid", "label:applicationId", "old", "yunikorn.apache.org/queue", "root.a", "label:queue", "root.q"), "team-a/yunikorn/mid", "yunikorn", "root.a"},
		{"YuniKorn's queue before Muster's", pod("label:applicationId", "a", "label:yunikorn.apache.org/queue", "root.y", "label:muster.dev/queue", "root.m"), "team-a/yunikorn/a", "yunikorn", "root.y"},
		{"YuniKorn before Volcano", pod("label:applicationId", "a", "scheduling.k8s.io/group-name", "g"), "team-a/yunikorn/a", "yunikorn", ""},
		{"Volcano before Spark's label", pod("scheduling.k8s.io/group-name", "g", "label:spark-app-selector", "s", "label:volcano.sh/queue-name", "v"), "team-a/volcano/g", "volcano", "v"},
		{"Spark's label for any scheduler", spark, "team-a/spark/s", "spark", ""},
		{"Spark's label as YuniKorn's application", ours, "team-a/yunikorn/s", "yunikorn", ""},
		{"a label queue on somebody's web server", pod("label:queue", "mail"), "team-a/pod/p", "pod", ""},
		{"a label queue for YuniKorn", legacy, "team-a/pod/p", "pod", "root.x"},
		{"coscheduling as it was", pod("label:pod-group.scheduling.sigs.k8s.io/name", "g", "label:pod-group.scheduling.sigs.k8s.io/min-available", "3"), "team-a/coscheduling/g", "coscheduling", ""},
		{"a RayJob's pods together", pod("label:ray.io/cluster", "c", "label:ray.io/originated-from-crd", "RayJob", "label:ray.io/originated-from-cr-name", "j"), "team-a/rayjob/j", "kuberay", ""},
		{"a RayService's clusters apart", pod("label:ray.io/cluster", "c", "label:ray.io/originated-from-crd", "RayService", "label:ray.io/originated-from-cr-name", "s"), "team-a/raycluster/c", "kuberay", ""},
		{"KAI's queue on a plain pod", pod("label:kai.scheduler/queue", "k"), "team-a/pod/p", "kai", "k"},
		{"a JobSet over its Jobs", pod("label:jobset.sigs.k8s.io/jobset-name", "js", "label:jobset.sigs.k8s.io/replicatedjob-name", "w"), "team-a/jobset/js", "owner", ""},
		{"a PyTorchJob", pod("label:training.kubeflow.org/job-name", "t", "label:training.kubeflow.org/replica-type", "master"), "team-a/trainingjob/t", "owner", ""},
		{"an owner of an unknown group", strange, "team-a/train.example.org/t", "owner", ""},
		{"a static pod", static, "team-a/pod/p", "pod", ""},
		{"a plain pod with a queue", pod(groups.KeyQueue, "root.q"), "team-a/pod/p", "pod", "root.q"},
		{"Kueue's queue unasked", pod("label:kueue.x-k8s.io/queue-name", "u"), "team-a/pod/p", "pod", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, _ := groups.Read(c.pod, noObjects{}, groups.Options{})
			if m.Job != c.job || m.Dialect != c.dialect || m.Info.Queue != c.queue {
				t.Errorf("got %s %s %q, want %s %s %q", m.Job, m.Dialect, m.Info.Queue, c.job, c.dialect, c.queue)
			}
		})
	}
	t.Run("Kueue's queue if asked for", func(t *testing.T) {
		m, _ := groups.Read(pod("label:kueue.x-k8s.io/queue-name", "u"), noObjects{}, groups.Options{KueueQueues: true})
		if m.Info.Queue != "u" {
			t.Errorf("got %q", m.Info.Queue)
		}
	})
	t.Run("users are not believed where anybody may write them", func(t *testing.T) {
		p := pod("label:applicationId", "a", "yunikorn.apache.org/user.info", `{"user":"root"}`)
		m, _ := groups.Read(p, noObjects{}, groups.Options{IgnoreUsers: true})
		if m.Info.User != "" {
			t.Errorf("got %q", m.Info.User)
		}
	})
}

// The facts of KubeRay's pods that a gang scheduler falls over (measured with the
// operator): groups differ between pods, a group may have no pods yet, minResource may
// be too small, and a replacement has a new name.
func TestWhatKubeRayDoesToAGang(t *testing.T) {
	read := func(p *corev1.Pod) groups.Member {
		m, problems := groups.Read(p, noObjects{}, groups.Options{})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		return m
	}
	load := func(name string) groupstest.Fixture {
		f, err := groupstest.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	t.Run("the newest pod's groups count", func(t *testing.T) {
		f := load("kuberay-yunikorn-autoscaled")
		old, young := read(f.Pods[0]), read(f.Pods[1])
		if len(old.Info.Groups) != 2 || len(young.Info.Groups) != 3 {
			t.Fatalf("the fixture's pods do not differ")
		}
		if got := groups.Merge(old.Info, young.Info); len(got.Groups) != 3 || got.Groups[1].Min != 2 {
			t.Errorf("merged: %+v", got.Groups)
		}
	})
	t.Run("a submitter without a pod is declared with what it will ask for", func(t *testing.T) {
		f := load("rayjob-yunikorn")
		g := groups.Merge(read(f.Pods[0]).Info, read(f.Pods[1]).Info).Groups[2]
		if cpu, _ := g.Request.Get("cpu"); g.Name != "submittergroup" || g.Min != 1 || cpu != 500 {
			t.Errorf("%+v", g)
		}
	})
	t.Run("the head asks for more than its group declares, which is the pod's business", func(t *testing.T) {
		f := load("kuberay-yunikorn-autoscaled")
		if n := len(f.Pods[0].Spec.Containers); n != 2 {
			t.Fatalf("%d containers", n)
		}
		if cpu, _ := read(f.Pods[0]).Info.Groups[0].Request.Get("cpu"); cpu != 1000 {
			t.Errorf("declared %d", cpu)
		}
	})
	t.Run("a replacement is of the same job and group", func(t *testing.T) {
		f := load("kuberay-yunikorn")
		next := f.Pods[1].DeepCopy()
		next.Name, next.UID = "sample-worker-worker-zzzzz", "another"
		a, b := read(f.Pods[1]), read(next)
		if a.Job != b.Job || a.Group != b.Group {
			t.Errorf("%s %s became %s %s", a.Job, a.Group, b.Job, b.Group)
		}
	})
	t.Run("hosts of a replica are a slice, and slices of a group are told apart", func(t *testing.T) {
		f := load("kuberay-yunikorn-hosts")
		slices := map[string]int{}
		for _, p := range f.Pods {
			m, problems := groups.Read(p, noObjects{}, groups.Options{})
			slices[m.Slice]++
			if want := m.Slice != ""; want != (len(problems) == 1 && problems[0].Code == "unknown-hosts" && !problems[0].Fatal) {
				t.Errorf("%s, of which only the RayCluster knows the number of hosts: %v", p.Name, problems)
			}
		}
		if d := cmp.Diff(map[string]int{"": 1, "tpu-af03d": 2, "tpu-c81b2": 2}, slices); d != "" {
			t.Error(d)
		}
	})
}

func TestMergeTakesNothingBackThatANewerPodLeavesOut(t *testing.T) {
	full := groups.Info{
		Queue: "q", User: "u", UserGroups: []string{"g"}, Min: -1, Groups: []groups.Group{{Name: "a", Min: 1}},
		Whole: true, NonPreemptible: true, LastVictim: true, NeverPreempts: true, PriorityClass: "p", Priority: ptr(int32(1)),
		Notice: 1, Checkpoint: 2, RestartCost: 3, Duration: 4, Deadline: time.Unix(5, 0), GangTimeout: 6, Soft: true,
		Created: time.Unix(7, 0), Topology: "t", Object: &corev1.ObjectReference{Name: "o"},
	}
	if d := cmp.Diff(full, groups.Merge(full, groups.Info{})); d != "" {
		t.Errorf("an empty member took back (-want +got):\n%s", d)
	}
	if d := cmp.Diff(full, groups.Merge(groups.Info{}, full)); d != "" {
		t.Errorf("an empty member came first (-want +got):\n%s", d)
	}
	if got := groups.Merge(full, groups.Info{Min: 4}); got.Min != 4 || got.Groups != nil {
		t.Errorf("a newer gang was mixed with the older: %d %v", got.Min, got.Groups)
	}
}

func TestGroupObjectsThatMakeNoSenseSaySo(t *testing.T) {
	for _, c := range []struct {
		name, yaml string
		code       string
		fatal      bool
	}{
		{"a negative minimum", "apiVersion: scheduling.volcano.sh/v1beta1\nkind: PodGroup\nspec: {minMember: -1}", "bad-min", false},
		{"a minimum in words", "apiVersion: scheduling.x-k8s.io/v1alpha1\nkind: PodGroup\nspec: {minMember: three}", "bad-field", false},
		{"a spec that is a list", "apiVersion: scheduling.x-k8s.io/v1alpha1\nkind: PodGroup\nspec: []", "bad-field", false},
		{"resources that are none", "apiVersion: scheduling.x-k8s.io/v1alpha1\nkind: PodGroup\nspec: {minMember: 1, minResources: {cpu: lots}}", "bad-quantity", false},
		{"a minimum beyond all clusters", "apiVersion: scheduling.k8s.io/v1alpha2\nkind: PodGroup\nspec: {schedulingPolicy: {gang: {minCount: 2000000000}}}", "bad-min", true},
		{"two topologies", "apiVersion: scheduling.k8s.io/v1alpha2\nkind: PodGroup\nspec: {schedulingConstraints: {topology: [{key: zone}, {key: rack}]}}", "unsupported-topology", true},
		{"hard HyperNodes", "apiVersion: scheduling.volcano.sh/v1beta1\nkind: PodGroup\nspec: {networkTopology: {mode: hard}}", "unsupported-topology", true},
		{"soft HyperNodes", "apiVersion: scheduling.volcano.sh/v1beta1\nkind: PodGroup\nspec: {networkTopology: {mode: soft}}", "unsupported-topology", false},
		{"claims of the group", "apiVersion: scheduling.k8s.io/v1beta1\nkind: PodGroup\nspec: {resourceClaims: [{name: a}]}", "unsupported-claims", true},
		{"a group of groups", "apiVersion: scheduling.k8s.io/v1beta1\nkind: PodGroup\nspec: {parentCompositePodGroupName: p}", "unsupported-composite", true},
		{"sub-groups that start together", "apiVersion: scheduling.volcano.sh/v1beta1\nkind: PodGroup\nspec: {subGroupPolicy: [{name: a, subGroupSize: 4}]}", "unsupported-subgroups", true},
		{"so many sub-groups at least", "apiVersion: scheduling.volcano.sh/v1beta1\nkind: PodGroup\nspec: {subGroupPolicy: [{name: a, minSubGroups: 2}]}", "unsupported-subgroups", true},
		{"sub-groups each in one HyperNode", "apiVersion: scheduling.volcano.sh/v1beta1\nkind: PodGroup\nspec: {subGroupPolicy: [{name: a, networkTopology: {highestTierAllowed: 1}}]}", "unsupported-subgroups", true},
		{"sub-groups that would like to be near", "apiVersion: scheduling.volcano.sh/v1beta1\nkind: PodGroup\nspec: {subGroupPolicy: [{name: a, networkTopology: {mode: soft}}]}", "unsupported-subgroups", false},
		{"sub-groups of one pod", "apiVersion: scheduling.volcano.sh/v1beta1\nkind: PodGroup\nspec: {subGroupPolicy: [{name: a, subGroupSize: 1, minSubGroups: 0}]}", "unsupported-subgroups", false},
		{"more hosts than any cluster", "apiVersion: ray.io/v1\nkind: RayCluster\nspec: {workerGroupSpecs: [{groupName: w, minReplicas: 1000000, numOfHosts: 1000000}]}", "bad-min", true},
		{"worker groups that are none", "apiVersion: ray.io/v1\nkind: RayCluster\nspec: {workerGroupSpecs: [7, {minReplicas: x}]}", "bad-field", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := groupstest.Parse([]byte(c.yaml))
			if err != nil {
				t.Fatal(err)
			}
			g := groups.FromObject(f.Objects[0])
			if len(g.Problems) == 0 || g.Problems[0].Code != c.code || g.Problems[0].Fatal != c.fatal {
				t.Errorf("problems %v, want %s, fatal %t", g.Problems, c.code, c.fatal)
			}
		})
	}
	if groups.FromObject(&unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "PodGroup"}}) != nil {
		t.Error("a PodGroup of no API of ours was read")
	}
}

func ptr[T any](v T) *T { return &v }
