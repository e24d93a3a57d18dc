package crd

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	api "github.com/musterhq/muster/runtime/kube/api/v1alpha1"
)

const node = "node-1"

// bench is a writer that runs against a fake API server, in a bubble whose time is the
// test's. A goroutine that is left over at the end fails the test.
type bench struct {
	*testing.T
	api  *fake.FakeDynamicClient
	w    *Writer
	told []api.GPUNodeSpec
	stop func()
}

func object(t testing.TB, n *api.GPUNode) *unstructured.Unstructured {
	n.SetGroupVersionKind(api.GPUNodeKind)
	n.Name, n.UID = node, "u1"
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(n)
	if err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: m}
}

// run runs a test with a writer. prepare, if any, sets the API server and the options.
func run(t *testing.T, there []runtime.Object, prepare func(*bench, *Options), test func(*bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		scheme := runtime.NewScheme()
		if err := api.AddToScheme(scheme); err != nil {
			t.Fatal(err)
		}
		b := &bench{T: t, api: fake.NewSimpleDynamicClient(scheme, there...)}
		o := Options{Client: b.api, Node: node, Create: true, Changed: func(s api.GPUNodeSpec) { b.told = append(b.told, s) }}
		if prepare != nil {
			prepare(b, &o)
		}
		b.start(o)
		test(b)
		b.stop()
	})
}

func (b *bench) start(o Options) {
	b.w = New(o)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- b.w.Run(ctx) }()
	b.stop = func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			b.Error(err)
		}
	}
	synctest.Wait()
}

// fails has requests of a verb fail, until it returns nil.
func (b *bench) fails(verb string, err func() error) {
	b.api.PrependReactor(verb, "gpunodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		e := err()
		return e != nil, nil, e
	})
}

// count counts requests so far.
func (b *bench) count(verb string) (n int) {
	for _, a := range b.api.Actions() {
		if a.GetVerb() == verb {
			n++
		}
	}
	return n
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// stored is the object as the API server has it.
func (b *bench) stored() *api.GPUNode {
	b.Helper()
	o, err := b.api.Tracker().Get(api.GPUNodes, "", node)
	if err != nil {
		b.Fatal(err)
	}
	n := &api.GPUNode{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.(*unstructured.Unstructured).Object, n); err != nil {
		b.Fatal(err)
	}
	return n
}

func (b *bench) report(s api.GPUNodeStatus) {
	b.w.Report(s)
	synctest.Wait()
}

// healthy is a status of n GPUs.
func healthy(n int) api.GPUNodeStatus {
	s := api.GPUNodeStatus{Driver: "580.95.05", CUDA: "13.0", Conditions: []metav1.Condition{
		{Type: api.GPUNodeNVMLReady, Status: metav1.ConditionTrue},
		{Type: api.GPUNodeEBPFReady, Status: metav1.ConditionFalse, Reason: "NoBTF", Message: "no BTF found"},
	}}
	for i := range n {
		s.GPUs = append(s.GPUs, api.GPU{
			UUID: fmt.Sprintf("GPU-%d", i), Index: int32(i), Product: "NVIDIA H100 80GB HBM3", Memory: api.Bytes(81559 << 20), Health: api.GPUHealth{State: api.GPUHealthy},
		})
	}
	return s
}

func TestAStatusIsWrittenOnceAndThenOnlyWhenItChanges(t *testing.T) {
	run(t, nil, func(_ *bench, o *Options) { o.NodeUID = "n1" }, func(b *bench) {
		for range 100 {
			b.report(healthy(8))
			pass(5 * time.Second)
		}
		n := b.stored()
		if b.count("create") != 1 || b.count("patch") != 1 {
			b.Errorf("%d creations, %d writes", b.count("create"), b.count("patch"))
		}
		if *n.Status.GPUCount != 8 || *n.Status.HealthyCount != 8 || n.Status.Product != "NVIDIA H100 80GB HBM3" || n.Status.GPUs[7].Health.Since == nil {
			b.Errorf("%+v", n.Status)
		}
		if o := n.OwnerReferences; len(o) != 1 || o[0].Kind != "Node" || o[0].Name != node || o[0].UID != "n1" {
			b.Errorf("owners %+v", o)
		}
		if s := b.w.State(); s != (State{Up: true}) {
			b.Errorf("%+v", s)
		}
		if reads := b.count("get"); reads < 8 || reads > 11 {
			b.Errorf("%d reads in 500 s", reads)
		}
	})
}

func TestChangesAreGatheredButHealthIsToldAtOnce(t *testing.T) {
	run(t, nil, nil, func(b *bench) {
		s := healthy(2)
		b.report(s)
		pass(time.Minute)
		before := b.count("patch")
		for i := range 100 { // 20 s of changes
			s.Driver = fmt.Sprint("580.", i)
			b.report(s)
			pass(200 * time.Millisecond)
		}
		pass(time.Minute)
		if n := b.count("patch") - before; n != 3 { // at 0, 10 and 20 s
			b.Errorf("%d writes", n)
		}
		if got := b.stored().Status.Driver; got != "580.99" {
			b.Errorf("the last one is not there, but %s", got)
		}

		s.Driver = "581"
		b.report(s)
		pass(2 * time.Second)
		before = b.count("patch")
		s.GPUs[1].Health = api.GPUHealth{State: api.GPUFailed, Reason: "Xid79", RecoveryAction: api.RecoveryReset}
		b.report(s)
		if n := b.count("patch") - before; n != 1 || b.stored().Status.Trouble != "1: Failed Xid79" {
			b.Errorf("%d writes at once, %+v", n, b.stored().Status)
		}
		before = b.count("patch")
		for i := range 100 { // a GPU that flickers for 10 s
			s.GPUs[1].Health.Reason = fmt.Sprint("Xid", i)
			b.report(s)
			pass(100 * time.Millisecond)
		}
		if n := b.count("patch") - before; n < 9 || n > 11 {
			b.Errorf("%d writes of a GPU that flickers", n)
		}
	})
}

func TestTheWordingOfAConditionMayWait(t *testing.T) {
	run(t, nil, nil, func(b *bench) {
		s := healthy(1)
		b.report(s)
		pass(time.Minute)
		before := b.count("patch")
		for i := range 120 { // 20 minutes
			s.Conditions[1].Message = fmt.Sprint(i, " seconds ago")
			b.report(s)
			pass(10 * time.Second)
		}
		if n := b.count("patch") - before; n > 2 {
			b.Errorf("%d writes of nothing but words", n)
		}
		s.Conditions[1].Reason = "NoCapability"
		b.report(s)
		pass(11 * time.Second)
		if c := b.stored().Status.Conditions[0]; c.Reason != "NoCapability" || c.Type != api.GPUNodeEBPFReady {
			b.Errorf("%+v", c)
		}
	})
}

func TestTimesAreThoseOfTheStateAlsoAfterARestart(t *testing.T) {
	began := metav1.NewTime(time.Unix(1_700_000_000, 0).UTC())
	s := healthy(2)
	s.GPUs[0].Health = api.GPUHealth{State: api.GPUFailed, Reason: "GpuLost", Since: &began}
	s.GPUs[1].Health.Since = &began
	s.Conditions[0].LastTransitionTime, s.Conditions[1].LastTransitionTime = began, began
	there := &api.GPUNode{Status: *s.DeepCopy()}
	run(t, []runtime.Object{object(t, there)}, nil, func(b *bench) {
		now := healthy(2)
		now.GPUs[0].Health = api.GPUHealth{State: api.GPUFailed, Reason: "GpuLost"}
		now.GPUs[1].Health = api.GPUHealth{State: api.GPUDegraded, Reason: "RemapPending"}
		now.Conditions[1].Status = metav1.ConditionTrue
		b.report(now)
		got := b.stored().Status
		if !got.GPUs[0].Health.Since.Equal(&began) || !got.Conditions[1].LastTransitionTime.Equal(&began) {
			b.Errorf("what stayed began anew: %+v", got)
		}
		if got.GPUs[1].Health.Since.Equal(&began) || got.Conditions[0].LastTransitionTime.Equal(&began) {
			b.Errorf("what is new began long ago: %+v", got)
		}
	})
}

func TestWhatAnAdministratorSaysIsHeard(t *testing.T) {
	run(t, []runtime.Object{object(t, &api.GPUNode{})}, nil, func(b *bench) {
		b.report(healthy(1))
		n := b.stored()
		repaired := metav1.NewTime(time.Unix(1_700_000_000, 0))
		n.Spec = api.GPUNodeSpec{IgnoredXIDs: []int32{13}, CordonedGPUs: []api.GPUUUID{"GPU-0"}, RepairedGPUs: []api.RepairedGPU{{UUID: "GPU-1", At: repaired}}}
		n.Generation = 2
		if err := b.api.Tracker().Update(api.GPUNodes, object(b.T, n), ""); err != nil {
			b.Fatal(err)
		}
		pass(90 * time.Second)
		if len(b.told) != 2 || len(b.told[0].IgnoredXIDs) != 0 || b.told[1].CordonedGPUs[0] != "GPU-0" || len(b.told[1].RepairedGPUs) != 1 {
			b.Errorf("%+v", b.told)
		}
		if s, ok := b.w.Spec(); !ok || s.IgnoredXIDs[0] != 13 {
			b.Errorf("%+v, %t", s, ok)
		}
		if got := b.stored().Status; got.ObservedGeneration != 2 || got.Conditions[0].ObservedGeneration != 2 {
			b.Errorf("generation %d is observed", got.ObservedGeneration)
		}
	})
}

// The next probe needs to know what this one held against GPUs, before it writes itself.
func TestWhatAnEarlierProbeLeftIsFoundOnceBeforeItIsWrittenOver(t *testing.T) {
	left := healthy(2)
	left.DriverLoad = "boot/1"
	left.GPUs[1].Health = api.GPUHealth{State: api.GPUFailed, Reason: "Xid79"}
	odd := object(t, &api.GPUNode{Spec: api.GPUNodeSpec{IgnoredXIDs: []int32{13}}})
	odd.Object["status"] = map[string]any{"gpus": "many"}
	for name, c := range map[string]struct {
		there *unstructured.Unstructured
		gpus  int
		fails bool
	}{
		"two GPUs":                 {object(t, &api.GPUNode{Status: left}), 2, false},
		"nothing":                  {object(t, &api.GPUNode{}), 0, false},
		"no object":                {nil, 0, false},
		"one that nobody can read": {odd, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			var there []runtime.Object
			if c.there != nil {
				there = append(there, c.there)
			}
			var found []api.GPUNodeStatus
			var err error
			run(t, there, func(_ *bench, o *Options) {
				o.Found = func(s api.GPUNodeStatus, e error) { found, err = append(found, s), e }
			}, func(b *bench) {
				if len(found) != 1 || len(found[0].GPUs) != c.gpus || (err != nil) != c.fails {
					b.Fatalf("%+v, %v", found, err)
				}
				if c.gpus > 0 && (found[0].DriverLoad != "boot/1" || found[0].GPUs[1].Health.Reason != "Xid79") {
					b.Errorf("%+v", found[0])
				}
				b.report(healthy(1))
				pass(5 * time.Minute)
				if s := b.stored().Status; len(s.GPUs) != 1 || len(found) != 1 || !b.w.State().Up {
					b.Errorf("%+v, found %d times, %+v", s, len(found), b.w.State())
				}
				if c.fails && b.told[0].IgnoredXIDs[0] != 13 {
					b.Errorf("what the administrator says counts all the same: %+v", b.told)
				}
			})
		})
	}
}

func TestAnObjectThatIsDeletedComesBack(t *testing.T) {
	run(t, nil, nil, func(b *bench) {
		b.report(healthy(1))
		if err := b.api.Tracker().Delete(api.GPUNodes, "", node); err != nil {
			b.Fatal(err)
		}
		pass(2 * time.Minute) // found out by a poll
		if got := b.stored().Status.GPUCount; got == nil || *got != 1 {
			b.Error("its status was not written again")
		}
		if err := b.api.Tracker().Delete(api.GPUNodes, "", node); err != nil {
			b.Fatal(err)
		}
		b.report(healthy(2)) // found out by a write, and made good at once
		if got := b.stored().Status.GPUCount; got == nil || *got != 2 {
			b.Error("its status was not written again")
		}
	})
}

func TestAnOlderCRDThatKeepsLessIsNotWrittenToAgainAndAgain(t *testing.T) {
	less := object(t, &api.GPUNode{Status: api.GPUNodeStatus{Driver: "580.95.05"}})
	run(t, []runtime.Object{object(t, &api.GPUNode{})}, func(b *bench, _ *Options) {
		written := false
		b.api.PrependReactor("*", "gpunodes", func(a clienttesting.Action) (bool, runtime.Object, error) {
			written = written || a.GetVerb() == "patch"
			return written, less.DeepCopy(), nil
		})
	}, func(b *bench) {
		for range 60 {
			b.report(healthy(2))
			pass(10 * time.Second)
		}
		if n := b.count("patch"); n != 1 {
			b.Errorf("%d writes", n)
		}
	})
}

// failures are what an API server, or the way to it, does.
func failures() map[string]struct {
	err    error
	reason string
	most   int // tries in an hour
} {
	r := api.GPUNodes.GroupResource()
	type failure = struct {
		err    error
		reason string
		most   int
	}
	return map[string]failure{
		"RBAC, or the admission policy":   {apierrors.NewForbidden(r, node, errors.New("the probe of node b may not write the GPUNode of a")), "Forbidden", 25},
		"a token that is no longer valid": {apierrors.NewUnauthorized("expired"), "Unauthorized", 80},
		"an older CRD that refuses":       {apierrors.NewInvalid(api.GPUNodeKind.GroupKind(), node, nil), "Refused", 25},
		"a conflict":                      {apierrors.NewConflict(r, node, errors.New("changed")), "Conflict", 80},
		"too many requests":               {apierrors.NewTooManyRequests("slow down", 30), "Throttled", 80},
		"a slow API server":               {apierrors.NewTimeoutError("slow", 1), "Timeout", 80},
		"a request that takes too long":   {fmt.Errorf("get: %w", context.DeadlineExceeded), "Timeout", 80},
		"etcd away":                       {apierrors.NewInternalError(errors.New("no leader")), "Unreachable", 80},
		"an API server that shuts down":   {apierrors.NewServiceUnavailable("bye"), "Unreachable", 80},
		"nobody listens":                  {&url.Error{Op: "Get", URL: "https://api", Err: &net.OpError{Op: "dial", Err: errors.New("connection refused")}}, "Unreachable", 80},
		"something else":                  {errors.New("odd"), "Failed", 80},
	}
}

func TestWhatGoesWrongIsToldAndTriedAgainWithPauses(t *testing.T) {
	for name, f := range failures() {
		for _, verb := range []string{"get", "patch"} {
			t.Run(name+", "+verb, func(t *testing.T) {
				var well atomic.Bool
				run(t, []runtime.Object{object(t, &api.GPUNode{})}, func(b *bench, _ *Options) {
					b.fails(verb, func() error {
						if well.Load() {
							return nil
						}
						return f.err
					})
				}, func(b *bench) {
					b.report(healthy(1))
					if s := b.w.State(); s.Up || s.Reason != f.reason || s.Detail == "" {
						b.Errorf("%+v", s)
					}
					for range 720 {
						b.report(healthy(1))
						pass(5 * time.Second)
					}
					if n := b.count(verb); n < 10 || n > f.most {
						b.Errorf("%d tries in an hour", n)
					}
					well.Store(true)
					pass(hopeless)
					if s := b.w.State(); s != (State{Up: true}) || b.stored().Status.GPUCount == nil {
						b.Errorf("it does not recover: %+v", s)
					}
				})
			})
		}
	}
}

func TestAMissingCRDAndAMissingObjectAreToldApart(t *testing.T) {
	generic := apierrors.NewGenericServerResponse(404, "get", api.GPUNodes.GroupResource(), node, "404 page not found", 0, true)
	run(t, nil, func(b *bench, _ *Options) {
		b.fails("get", func() error { return generic })
		b.fails("create", func() error { return generic })
	}, func(b *bench) {
		if s := b.w.State(); s.Reason != "NoCRD" || !strings.Contains(s.Detail, "deploy/crds") {
			b.Errorf("%+v", s)
		}
	})
	run(t, nil, func(_ *bench, o *Options) { o.Create = false }, func(b *bench) {
		b.report(healthy(1))
		if s := b.w.State(); s.Reason != "NoObject" || b.count("create") != 0 {
			b.Errorf("%+v, %d creations", s, b.count("create"))
		}
		if err := b.api.Tracker().Add(object(b.T, &api.GPUNode{})); err != nil {
			b.Fatal(err)
		}
		pass(hopeless)
		if s := b.w.State(); !s.Up || b.stored().Status.GPUCount == nil {
			b.Errorf("%+v", s)
		}
	})
	// Another has just created it: the memory of the API server that was asked is behind.
	behind := true
	run(t, []runtime.Object{object(t, &api.GPUNode{})}, func(b *bench, _ *Options) {
		b.fails("get", func() error {
			if behind {
				behind = false
				return apierrors.NewNotFound(api.GPUNodes.GroupResource(), node)
			}
			return nil
		})
	}, func(b *bench) {
		if s := b.w.State(); !s.Up {
			b.Errorf("%+v", s)
		}
	})
}

func TestAnAPIServerThatHangsHoldsNobodyUp(t *testing.T) {
	run(t, nil, func(b *bench, _ *Options) {
		b.fails("get", func() error { time.Sleep(time.Hour); return errors.New("late") })
	}, func(b *bench) {
		begin := time.Now()
		for range 1000 {
			b.w.Report(healthy(8))
			b.w.State()
			b.w.Spec()
		}
		if took := time.Since(begin); took != 0 {
			b.Errorf("it took %s", took)
		}
		pass(2 * time.Hour)
	})
}

func TestAnAnswerOfAnAPIServerThatIsBehindIsNotBelieved(t *testing.T) {
	fresh := object(t, &api.GPUNode{ObjectMeta: metav1.ObjectMeta{Generation: 5}, Spec: api.GPUNodeSpec{IgnoredXIDs: []int32{13}}})
	old := object(t, &api.GPUNode{ObjectMeta: metav1.ObjectMeta{Generation: 4}})
	reads := 0
	run(t, nil, func(b *bench, _ *Options) {
		b.api.PrependReactor("get", "gpunodes", func(clienttesting.Action) (bool, runtime.Object, error) {
			if reads++; reads%2 == 0 {
				return true, old.DeepCopy(), nil
			}
			return true, fresh.DeepCopy(), nil
		})
	}, func(b *bench) {
		pass(10 * time.Minute)
		if reads < 5 || len(b.told) != 1 {
			b.Errorf("%d reads, told %+v", reads, b.told)
		}
	})
}

func TestWhatIsReportedIsBroughtIntoTheFormOfTheCRD(t *testing.T) {
	s := healthy(70)
	s.GPUs[3].UUID, s.GPUs[5].UUID = "", "GPU-4"
	s.GPUs[0].Health, s.GPUs[1].Health.State = api.GPUHealth{}, api.GPUFailed
	s.GPUs[0].Peers = []string{"a", "a", "b"}
	s.GPUs[0].MIG = []api.MIGInstance{{UUID: "m"}, {UUID: "m"}, {}}
	s.Conditions = append(s.Conditions, s.Conditions[0], metav1.Condition{Type: "X", Message: strings.Repeat("ä", maxMessage)})
	complete(&s)
	if len(s.GPUs) != maxGPUs || *s.GPUCount != maxGPUs || len(s.GPUs[0].Peers) != 2 || len(s.GPUs[0].MIG) != 1 || len(s.Conditions) != 3 {
		t.Errorf("%d GPUs, %+v, %d conditions", len(s.GPUs), s.GPUs[0], len(s.Conditions))
	}
	if s.GPUs[0].Health.State != api.GPUUnknown || s.GPUs[0].Health.Reason == "" || s.GPUs[1].Health.Reason == "" {
		t.Errorf("%+v", s.GPUs[:2])
	}
	x := s.Conditions[2]
	if len(x.Message) > maxMessage || !strings.HasSuffix(x.Message, "ä…") || x.Reason == "" {
		t.Errorf("%d bytes, reason %q", len(x.Message), x.Reason)
	}
}

func TestTheTokenTellsItsNode(t *testing.T) {
	token := func(claims string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln\n"
	}
	for text, want := range map[string]string{
		token(`{"kubernetes.io":{"namespace":"a","node":{"name":"n","uid":"u"},"pod":{"name":"p"}}}`): "n u",
		token(`{"kubernetes.io":{"namespace":"a"}}`):                                                  " ",
		token(`{"kubernetes.io":7}`):                                                                  " ",
		token(`no JSON`):                                                                              " ",
		"a.!!.c":                                                                                      " ",
		"":                                                                                            " ",
		"a.b":                                                                                         " ",
	} {
		name, uid := NodeOf(text)
		if got := name + " " + string(uid); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}
