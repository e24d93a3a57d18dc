package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/cmd/muster/internal/scheduler"
)

// schedulerOptions are those of a command line.
func schedulerOptions(t *testing.T, line string) (scheduler.Options, error) {
	t.Helper()
	var f schedulerFlags
	c := &cobra.Command{}
	f.add(c)
	if err := c.ParseFlags(strings.Fields(line)); err != nil {
		t.Fatal(err)
	}
	return f.options()
}

func TestTheFlagsOfTheSchedulerArrive(t *testing.T) {
	for line, want := range map[string]func(scheduler.Options) bool{
		"": func(o scheduler.Options) bool {
			return o.MaxCreated == 10_000 && o.IdleCreated == 10*time.Second && o.ProbeStreamAge == 30*time.Minute && !o.StayOnFailedGPUs
		},
		"--queues crd":                      func(o scheduler.Options) bool { return o.Queues == "crd" },
		"--queues file:q.yaml":              func(o scheduler.Options) bool { return o.Queues == "file:q.yaml" },
		"--max-created-queues 1":            func(o scheduler.Options) bool { return o.MaxCreated == 1 },
		"--created-queue-idle 1h":           func(o scheduler.Options) bool { return o.IdleCreated == time.Hour },
		"--probe-stream-age 1m":             func(o scheduler.Options) bool { return o.ProbeStreamAge == time.Minute },
		"--probe-stream-age 0":              func(o scheduler.Options) bool { return o.ProbeStreamAge < 0 }, // never
		"--evict-from-failed-gpus=false":    func(o scheduler.Options) bool { return o.StayOnFailedGPUs },
		"--node-gates label:a=b,no-taint:c": func(o scheduler.Options) bool { return len(o.Pods.Gates) == 2 },
	} {
		if o, err := schedulerOptions(t, line); err != nil || !want(o) {
			t.Errorf("%q: %+v, %v", line, o, err)
		}
	}
}

func TestFlagsOfTheSchedulerThatMakeNoSenseAreRefused(t *testing.T) {
	for _, line := range []string{
		"--max-created-queues 0", "--max-created-queues -1", "--created-queue-idle 0", "--created-queue-idle 10ms",
		"--probe-stream-age -1s", "--probe-stream-age 10s", "--scheduler-names default-scheduler", "--lease-duration 1s", "--node-gates x",
		"--queues x", "--queues file:", "--queues configmap", "--queues crd:x",
	} {
		_, err := schedulerOptions(t, line)
		if name, _, _ := strings.Cut(line, " "); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", line, err)
		}
	}
}
