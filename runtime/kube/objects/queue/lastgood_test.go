package queue

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// text is a log that may be read while it is written.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *text) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(b)
}

func (w *text) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// replica is one process that reads the queues of yunikorn-configs in the namespace
// muster, and is in the namespace muster itself.
type replica struct {
	*ConfigMap
	loop *loop
	told *events
	log  *text
	stop func()
}

// start starts a replica, which leads if it is to; it ends with the test, if not before.
func start(t *testing.T, client *fake.Clientset, leads bool) *replica {
	t.Helper()
	r := &replica{loop: &loop{}, told: &events{}, log: &text{}}
	var err error
	r.ConfigMap, err = NewConfigMap(ConfigMapOptions{
		Client: client, Namespace: "muster", Name: "yunikorn-configs", Own: "muster", Events: r.told, Log: slog.New(slog.NewTextHandler(r.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() { _ = r.Watch(ctx, r.loop.apply) })
	if leads {
		work.Go(func() { r.Keep(ctx) })
	}
	r.stop = func() { cancel(); work.Wait() }
	t.Cleanup(r.stop)
	return r
}

func (r *replica) holds(t *testing.T, want string) {
	t.Helper()
	eventually(t, want+" to hold", func() bool { return r.loop.String() == want && r.Ready() == nil }, r.loop, r.told, r.log)
}

func (r *replica) tells(t *testing.T, part string) {
	t.Helper()
	eventually(t, "to be told "+part, func() bool { return r.told.count(part) > 0 }, r.told, r.log)
}

// kept is the text that is kept, "" if none is.
func kept(t *testing.T, client *fake.Clientset) string {
	t.Helper()
	m, err := client.CoreV1().ConfigMaps("muster").Get(t.Context(), LastGoodName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return m.Data["queues.yaml"] + string(m.BinaryData["queues.yaml.gz"])
}

func keeps(t *testing.T, client *fake.Clientset, want string) {
	t.Helper()
	eventually(t, "the text to be kept", func() bool { return kept(t, client) == want })
}

// writes counts how often what is kept was written.
func writes(client *fake.Clientset) (n int) {
	for _, a := range client.Actions() {
		var o runtime.Object
		switch a := a.(type) {
		case clienttesting.CreateAction: // an update is one, too
			o = a.GetObject()
		default:
			continue
		}
		if m, ok := o.(*corev1.ConfigMap); ok && m.Name == LastGoodName {
			n++
		}
	}
	return n
}

func remove(t *testing.T, client *fake.Clientset, name string) {
	t.Helper()
	if err := client.CoreV1().ConfigMaps("muster").Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// broken has an error of syntax.
const broken = "partitions: [}"

var other = strings.Replace(team, "team", "other", 1)

func TestAReplicaThatStartsGoesOnWithTheQueuesThatWereGoodLast(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(*testing.T, *fake.Clientset)
		told string
	}{
		"the text has errors": {
			func(t *testing.T, client *fake.Clientset) { replace(t, client, configMap(broken)) },
			"hold on until it is mended\nqueues.yaml:1:13: error[yaml-syntax]",
		},
		"it has no partition default": {
			func(t *testing.T, client *fake.Clientset) {
				replace(t, client, configMap(strings.Replace(team, "default", "gpu", 1)))
			},
			"Warning InvalidQueues on yunikorn-configs: queues.yaml has no partition default",
		},
		"the key is gone": {
			func(t *testing.T, client *fake.Clientset) {
				m := configMap(team)
				m.Data = map[string]string{"queue.yaml": team}
				replace(t, client, m)
			},
			"Warning InvalidQueues on yunikorn-configs: ConfigMap muster/yunikorn-configs has no key queues.yaml; the queues of 2",
		},
		"the ConfigMap is gone": {
			func(t *testing.T, client *fake.Clientset) { remove(t, client, "yunikorn-configs") },
			"Warning MissingQueues on yunikorn-configs: there is no ConfigMap muster/yunikorn-configs; the queues of 2",
		},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset(configMap(team))
			first := start(t, client, true)
			first.holds(t, "root; root.team")
			keeps(t, client, team)
			c.harm(t, client)
			first.tells(t, "the queues before hold on")
			first.stop()

			second := start(t, client, true)
			second.holds(t, "root; root.team")
			second.tells(t, c.told)
			if n := second.told.count("hold on until "); n == 0 {
				t.Errorf("nobody says what holds meanwhile:\n%s", second.told)
			}
			if kept(t, client) != team {
				t.Errorf("what is kept is %q", kept(t, client))
			}

			// And a good one is followed, and kept in its turn.
			if strings.Contains(name, "is gone") {
				_, _ = client.CoreV1().ConfigMaps("muster").Create(t.Context(), configMap(other), metav1.CreateOptions{})
			}
			replace(t, client, configMap(other))
			second.holds(t, "root; root.other")
			second.tells(t, "Normal QueuesApplied")
			keeps(t, client, other)
			replace(t, client, configMap(broken))
			second.tells(t, "1 error; the queues before hold on")
		})
	}
}

func TestOnlyTheReplicaThatLeadsKeepsTheQueuesAndOnlyWhenTheyChange(t *testing.T) {
	client := fake.NewClientset(configMap(team))
	standby := start(t, client, false)
	standby.holds(t, "root; root.team")
	leader := start(t, client, true)
	leader.holds(t, "root; root.team")
	keeps(t, client, team)
	m := configMap(team)
	m.Labels = map[string]string{"a": "b"}
	replace(t, client, m)
	replace(t, client, configMap(broken))
	leader.tells(t, "InvalidQueues")
	standby.tells(t, "InvalidQueues")
	replace(t, client, configMap(other))
	standby.holds(t, "root; root.other")
	keeps(t, client, other)
	if n := writes(client); n != 2 {
		t.Errorf("two texts were written %d times", n)
	}

	// Who comes to lead finds it there, and writes it anew only if somebody has removed it.
	leader.stop()
	next := start(t, client, true)
	next.holds(t, "root; root.other")
	replace(t, client, configMap(team))
	keeps(t, client, team)
	if n := writes(client); n != 3 {
		t.Errorf("three texts were written %d times", n)
	}
	next.stop()
	remove(t, client, LastGoodName)
	start(t, client, true)
	keeps(t, client, team)
}

func TestWhoComesToLeadTellsAnewWhatIsWrong(t *testing.T) {
	r := start(t, fake.NewClientset(configMap(broken)), false)
	r.tells(t, "1 error; nothing is scheduled until it is mended\nqueues.yaml:1:13")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.Keep(ctx)
	eventually(t, "it is told again", func() bool { return r.told.count("InvalidQueues") == 2 }, r.told)
}

func TestWhatIsKeptAndMakesNoSenseIsNotUsedAndThatIsLogged(t *testing.T) {
	// by Muster, of another time; mutilated by each case
	var written *corev1.ConfigMap
	{
		client := fake.NewClientset(configMap(team))
		start(t, client, true)
		keeps(t, client, team)
		written, _ = client.CoreV1().ConfigMaps("muster").Get(t.Context(), LastGoodName, metav1.GetOptions{})
	}
	for name, c := range map[string]struct {
		harm func(m *corev1.ConfigMap)
		log  string
		kept string // when good queues have come
	}{
		"somebody has edited it": {func(m *corev1.ConfigMap) { m.Data["queues.yaml"] = broken }, "not as Muster has written it", other},
		"it is empty":            {func(m *corev1.ConfigMap) { m.Data = nil }, "not as Muster has written it", other},
		"it is somebody else's":  {func(m *corev1.ConfigMap) { m.Labels = nil }, "no label muster.dev/last-good", team},
		"it is of other queues":  {func(m *corev1.ConfigMap) { m.Annotations[lastGoodSource] = "a/b" }, "kept of ConfigMap a/b", other},
		"it has errors by now": {func(m *corev1.ConfigMap) {
			g := &good{from: "muster/yunikorn-configs", key: "queues.yaml", text: []byte(broken)}
			g.put(m)
		}, "has errors", other},
	} {
		t.Run(name, func(t *testing.T) {
			m := written.DeepCopy()
			c.harm(m)
			client := fake.NewClientset(configMap(broken), m)
			r := start(t, client, true)
			r.tells(t, "1 error; nothing is scheduled until it is mended")
			if r.loop.String() != "nothing" || r.Ready() == nil {
				t.Errorf("%s holds", r.loop)
			}
			if log := r.log.String(); !strings.Contains(log, "level=WARN") || !strings.Contains(log, c.log) {
				t.Errorf("no %q in %s", c.log, log)
			}
			replace(t, client, configMap(other))
			r.holds(t, "root; root.other")
			if c.kept == other {
				keeps(t, client, other)
				return
			}
			eventually(t, "a warning that it is not kept", func() bool { return strings.Contains(r.log.String(), "give it another name") }, r.log)
			if kept(t, client) != c.kept {
				t.Errorf("somebody else's ConfigMap is overwritten by %q", kept(t, client))
			}
		})
	}
}

func TestATextThatIsTooLongToBeKeptHoldsAndIsLogged(t *testing.T) {
	client := fake.NewClientset(configMap(team + "#" + strings.Repeat("x", maxLastGood)))
	r := start(t, client, true)
	r.holds(t, "root; root.team")
	eventually(t, "a warning", func() bool { return strings.Contains(r.log.String(), "at most 921600 are kept") }, r.log)
	if writes(client) != 0 {
		t.Error("it was written")
	}
}

func TestAnAPIServerThatIsAwayIsAskedAgainForWhatWasKept(t *testing.T) {
	client := fake.NewClientset(configMap(team))
	first := start(t, client, true)
	keeps(t, client, team)
	first.stop()
	replace(t, client, configMap(broken))
	var mu sync.Mutex
	answer := errors.New("the server is away")
	client.PrependReactor("get", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		return answer != nil, nil, answer
	})
	r := start(t, client, false)
	eventually(t, "that nothing holds yet", func() bool {
		err := r.Ready()
		return err != nil && strings.Contains(err.Error(), "yaml-syntax")
	}, r.told)
	if n := r.told.count("nothing is scheduled"); n != 0 {
		t.Errorf("who doesn't know says:\n%s", r.told)
	}
	mu.Lock()
	answer = nil
	mu.Unlock()
	r.holds(t, "root; root.team")
	r.tells(t, "hold on until it is mended")

	// Without the right to read it, there is nothing to go on with.
	mu.Lock()
	answer = apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, LastGoodName, errors.New("no such right"))
	mu.Unlock()
	start(t, client, false).tells(t, "nothing is scheduled until it is mended")
}
