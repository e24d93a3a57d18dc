package e2e_test

import "testing"

// TestFiguresOfTheMachine measures what Muster is compared with, without Muster.
func TestFiguresOfTheMachine(t *testing.T) {
	needFigures(t)
	f := newTable(t, "1,000 nodes, 5,000 pods that wait: pods bound per second", "contender", "kubelets played by kwok", "no kubelets")
	f.row("stock kube-scheduler", stockRate(t, fullSize, true), stockRate(t, fullSize, false))
	f.row("16 workers that only bind", rawRate(t, fullSize, true), rawRate(t, fullSize, false))
}
