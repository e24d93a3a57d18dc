package kube

import "testing"

// TestTheQueuesThatRulesCreatedAreTold to whoever looks at the scheduler, until they go.
func TestTheQueuesThatRulesCreatedAreTold(t *testing.T) {
	r := newRig(t, byNamespace, Options{IdleCreated: 1}).leads()
	if got := r.s.Created(); len(got) != 0 {
		t.Errorf("before any job: %v", got)
	}
	r.pod("ml", "a", "")
	r.settle()
	r.tend()
	if got := r.s.Created(); len(got) != 1 || got[0].Path != "root.ml" || got[0].Below != "root" {
		t.Errorf("with a job of the namespace ml: %+v", got)
	}
	r.delete("ml/a")
	r.settle()
	r.tend()
	r.tend()
	if got := r.s.Created(); len(got) != 0 {
		t.Errorf("when it has ended: %v", got)
	}
}
