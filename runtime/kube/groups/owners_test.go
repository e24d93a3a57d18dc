package groups_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/musterhq/muster/runtime/kube/groups"
)

// leaderWorkerSet is the set vllm of team-a with four pods a replica.
func leaderWorkerSet(policy string) *groups.Table {
	t := &groups.Table{}
	t.Put(groups.FromObject(&unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet",
		"metadata": map[string]any{"namespace": "team-a", "name": "vllm", "labels": map[string]any{"muster.dev/queue": "root.serve"}},
		"spec":     map[string]any{"startupPolicy": policy, "leaderWorkerTemplate": map[string]any{"size": int64(4)}},
	}}))
	return t
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
	t.Run("the set's queue is the pods'", func(t *testing.T) {
		if m, _ := groups.Read(pod(leader...), leaderWorkerSet("LeaderReady"), groups.Options{}); m.Info.Queue != "root.serve" {
			t.Errorf("queue %q", m.Info.Queue)
		}
	})
}
