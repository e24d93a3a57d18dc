package e2e_test

import "testing"

// TestFiguresOfTheMachine measures what Muster is compared with, without Muster.
func TestFiguresOfTheMachine(t *testing.T) {
	needFigures(t)
	f := newTable(t, "1,000 nodes, 5,000 pods that wait: pods bound per second", "contender", "kubelets played by kwok", "no kubelets")
	for name, rate := range map[string]func(*testing.T, size, bool) float64{"stock kube-scheduler": stockRate, "16 workers that only bind": rawRate} {
		f.row(name,
			alone(t, "kwok", func(t *testing.T) float64 { return rate(t, fullSize, true) }),
			alone(t, "none", func(t *testing.T) float64 { return rate(t, fullSize, false) }))
	}
}
