package groups_test

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/musterhq/muster/runtime/kube/groups"
	"github.com/musterhq/muster/runtime/kube/groups/groupstest"
)

// leaderWorkerSet is the set vllm of team-a with four pods a replica.
func leaderWorkerSet(policy string) *groups.Table {
	t := &groups.Table{}
	t.Put(groups.FromObject(&unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet",
		"metadata": map[string]any{"namespace": "team-a", "name": "vllm", "labels": map[string]any{"muster.dev/queue": "root.serve"}, "annotations": map[string]any{"muster.dev/notice": "90s"}},
		"spec":     map[string]any{"startupPolicy": policy, "leaderWorkerTemplate": map[string]any{"size": int64(4)}},
	}}))
	return t
}

func TestTheLeaderOfAJobIsItsLeaderInWhateverGroupItIs(t *testing.T) {
	for _, c := range []struct {
		name   string
		keys   []string
		leader bool
	}{
		{"a Spark driver in a group of Volcano's", []string{"scheduling.k8s.io/group-name", "g", "label:spark-role", "driver"}, true},
		{"an executor beside it", []string{"scheduling.k8s.io/group-name", "g", "label:spark-role", "executor"}, false},
		{"a PyTorch master in a group of coscheduling's", []string{"label:scheduling.x-k8s.io/pod-group", "g", "label:training.kubeflow.org/replica-type", "master"}, true},
		{"a worker beside it", []string{"label:scheduling.x-k8s.io/pod-group", "g", "label:training.kubeflow.org/replica-type", "worker"}, false},
		{"an MPI launcher in a group of Kueue's", []string{"label:kueue.x-k8s.io/pod-group-name", "g", "label:training.kubeflow.org/replica-type", "launcher"}, true},
		{"the leader of a replica in a group of Volcano's", []string{"scheduling.k8s.io/group-name", "g", "label:leaderworkerset.sigs.k8s.io/name", "s", "label:leaderworkerset.sigs.k8s.io/worker-index", "0"}, true},
		{"somebody's own label", []string{"label:leaderworkerset.sigs.k8s.io/worker-index", "0"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if m, _ := groups.Read(pod(c.keys...), noObjects{}, groups.Options{}); m.Leader != c.leader {
				t.Errorf("%+v, leader should be %t", m, c.leader)
			}
		})
	}
}

func TestResourcesOfAGroupThatItsMinimumDoesNotCoverAreTold(t *testing.T) {
	for _, c := range []struct {
		name, minimum string
		role          string
		told          bool
	}{
		{"as Spark's operator writes it", "minMember: 1, minResources: {cpu: 9, memory: 2Gi}", "driver", true},
		{"the executors don't say it again", "minMember: 1, minResources: {cpu: 9}", "executor", false},
		{"no more than the pod asks for", "minMember: 1, minResources: {cpu: 1, memory: 1Gi}", "", false},
		{"a gang, whose pods tell", "minMember: 2, minResources: {cpu: 9}", "", false},
		{"gangs of tasks", "minMember: 1, minTaskMember: {a: 3}, minResources: {cpu: 9}", "", false},
		{"nothing", "minMember: 1", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := groupstest.Parse([]byte("apiVersion: scheduling.volcano.sh/v1beta1\nkind: PodGroup\nmetadata: {namespace: team-a, name: g}\nspec: {" + c.minimum + "}"))
			if err != nil {
				t.Fatal(err)
			}
			p := pod("scheduling.k8s.io/group-name", "g", "label:spark-role", c.role)
			p.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				"cpu": resource.MustParse("1"), "memory": resource.MustParse("1Gi"),
			}}}}
			_, problems := groups.Read(p, f.Table(), groups.Options{})
			if got := slices.Contains(codes(problems), "unsupported-min-resources"); got != c.told || len(problems) > 1 || c.told && problems[0].Fatal {
				t.Errorf("problems %v, told should be %t", problems, c.told)
			}
		})
	}
}

func TestHowManyWorkersOfARayClusterStartTogether(t *testing.T) {
	for _, c := range []struct {
		name, group string
		min         int32
	}{
		{"the minimum", "minReplicas: 2, replicas: 5", 2},
		{"those wanted, where no minimum is written", "replicas: 5", 5},
		{"no more than there may be: KubeRay makes no more", "replicas: 5, maxReplicas: 3", 3},
		{"a maximum above them is none", "replicas: 5, maxReplicas: 2147483647", 5},
		{"hosts of all of them", "replicas: 5, maxReplicas: 3, numOfHosts: 2", 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := groupstest.Parse([]byte("apiVersion: ray.io/v1\nkind: RayCluster\nmetadata: {name: c}\nspec: {workerGroupSpecs: [{groupName: w, " + c.group + "}]}"))
			if err != nil {
				t.Fatal(err)
			}
			if g := groups.FromObject(f.Objects[0]); len(g.MinTask) != 2 || g.MinTask[1].Min != c.min {
				t.Errorf("got %+v, want %d workers", g.MinTask, c.min)
			}
		})
	}
}

func TestHowManyPodsOfALeaderWorkerSetStartTogether(t *testing.T) {
	const name, group, worker, size = "label:leaderworkerset.sigs.k8s.io/name", "label:leaderworkerset.sigs.k8s.io/group-index", "label:leaderworkerset.sigs.k8s.io/worker-index", "leaderworkerset.sigs.k8s.io/size"
	leader := []string{name, "vllm", group, "2", worker, "0", size, "4"}
	for _, c := range []struct {
		name    string
		objects groups.Objects
		more    []string
		min     int32
	}{
		{"all, where the set can't be read", noObjects{}, nil, 4},
		{"all, where workers come with their leader", leaderWorkerSet("LeaderCreated"), nil, 4},
		{"the leader, where workers come when it is ready: it would wait for them for ever", leaderWorkerSet("LeaderReady"), nil, 1},
		{"as many as the pods say, where the set can't be read", noObjects{}, []string{groups.KeyGangMin, "1"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, problems := groups.Read(pod(append(leader, c.more...)...), c.objects, groups.Options{})
			want := groups.Key{API: groups.LeaderWorkerSet, Namespace: "team-a", Name: "vllm"}
			if m.Info.Min != c.min || m.Job != "team-a/leaderworkerset/vllm-2" || !m.Leader || m.Refers == nil || *m.Refers != want || len(problems) > 0 {
				t.Errorf("%+v %v, want a gang of %d", m, problems, c.min)
			}
		})
	}
	t.Run("what the set says of its queue and itself holds for its pods", func(t *testing.T) {
		if m, _ := groups.Read(pod(leader...), leaderWorkerSet("LeaderReady"), groups.Options{}); m.Info.Queue != "root.serve" || m.Info.Notice != 90*time.Second {
			t.Errorf("%+v", m.Info)
		}
	})
}
