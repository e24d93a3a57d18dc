package groups_test

import (
	"testing"

	"github.com/musterhq/muster/runtime/kube/groups"
	"github.com/musterhq/muster/runtime/kube/groups/groupstest"
)

// A scheduler that starts anew reads every pod of the cluster once.
func BenchmarkRead(b *testing.B) {
	for _, name := range []string{"kuberay-yunikorn-autoscaled", "kuberay-volcano", "kuberay", "native-v1beta1", "deployment"} {
		b.Run(name, func(b *testing.B) {
			f, err := groupstest.Load(name)
			if err != nil {
				b.Fatal(err)
			}
			table, last := f.Table(), f.Pods[len(f.Pods)-1]
			b.ReportAllocs()
			for b.Loop() {
				groups.Read(last, table, groups.Options{})
			}
		})
	}
}

// Pods with one text share what it says, and no pod changes it for the others: of two
// with the same text, the first being a Spark driver, only the driver's has a leader.
func TestPodsWithTheSameTaskGroupsDoNotDisturbEachOther(t *testing.T) {
	const text = `[{"name":"a","minMember":1},{"name":"b","minMember":2}]`
	driver := pod("label:applicationId", "s", "yunikorn.apache.org/task-group-name", "a", taskGroups, text, "label:spark-role", "driver")
	other := pod("label:applicationId", "t", "yunikorn.apache.org/task-group-name", "a", taskGroups, text)
	first, _ := groups.Read(driver, noObjects{}, groups.Options{})
	second, _ := groups.Read(other, noObjects{}, groups.Options{})
	if !first.Leader || !first.Info.Groups[0].Leader {
		t.Errorf("the driver is no leader: %+v", first)
	}
	third, _ := groups.Read(other, noObjects{}, groups.Options{})
	if &second.Info.Groups[0] != &third.Info.Groups[0] {
		t.Error("20,000 pods have 20,000 copies of what one text says")
	}
	if second.Leader || second.Info.Groups[0].Leader {
		t.Errorf("the driver's mark is on another pod: %+v", second)
	}
}
