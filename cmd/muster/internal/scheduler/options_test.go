package scheduler

import (
	"log/slog"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/musterhq/muster/runtime/kube"
)

// connected is a process with everything open, and no API server.
func connected(t *testing.T, o Options) *process {
	t.Helper()
	o.Queues, o.Namespace, o.Identity, o.Schedulers = "file:queues.yaml", "muster-system", "a", []string{"muster"}
	o.Log = slog.New(slog.DiscardHandler)
	p := &process{o: o}
	if err := p.connect(&rest.Config{Host: "http://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestWhatIsAskedForReachesTheParts(t *testing.T) {
	p := connected(t, Options{
		MaxCreated: 7, IdleCreated: 3 * time.Second, ProbeListen: "127.0.0.1:0", ProbeAccount: "eyes/probe", ProbeStreamAge: 5 * time.Minute,
		StayOnFailedGPUs: true, BindWorkers: 3, BindQPS: 5, RespectBudgets: true,
		Lease: kube.Lease{Elect: true, Name: "lease", Duration: time.Minute},
	})
	k := p.kubeOptions()
	if k.MaxCreated != 7 || k.IdleCreated != 3*time.Second {
		t.Errorf("rules may create %d queues, empty ones stay %s", k.MaxCreated, k.IdleCreated)
	}
	if !k.StayOnFailedGPUs || k.Probes == nil || k.Lease != p.o.Lease || k.Act.Workers != 3 || k.Act.QPS != 5 || !k.Act.RespectBudgets {
		t.Errorf("the scheduler is given %+v", k)
	}
	if u := p.probes.options(p.kube, nil); u.MaxStreamAge != 5*time.Minute || u.Identify == nil || u.Sink == nil {
		t.Errorf("the server of the probes is given %+v", u)
	}
	if got := p.seen.created(); len(got) != 0 {
		t.Errorf("queues were created before any job: %v", got)
	}
}

func TestWithoutAnAddressNobodyListensToProbes(t *testing.T) {
	p := connected(t, Options{})
	if p.probes.server != nil || p.kubeOptions().Probes != nil || p.probes.usage() != nil {
		t.Error("somebody does")
	}
}
