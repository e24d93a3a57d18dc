package pods_test

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/musterhq/muster/runtime/kube/pods"
)

// store is a cluster of four nodes in two zones, with a class of each kind.
func store(t testing.TB) *cluster {
	c := &cluster{nodes: []*corev1.Node{
		nodeOf("a1", map[string]string{"zone": "a"}), nodeOf("a2", map[string]string{"zone": "a"}),
		nodeOf("b1", map[string]string{"zone": "b"}), nodeOf("b2", map[string]string{"zone": "b", corev1.LabelHostname: "host-b2"}),
	}}
	for _, text := range []string{
		"{metadata: {name: now}, provisioner: x, volumeBindingMode: Immediate}",
		"{metadata: {name: later}, provisioner: x, volumeBindingMode: WaitForFirstConsumer}",
		"{metadata: {name: later-in-a}, provisioner: x, volumeBindingMode: WaitForFirstConsumer, allowedTopologies: [{matchLabelExpressions: [{key: zone, values: [a]}]}]}",
		"{metadata: {name: local}, provisioner: kubernetes.io/no-provisioner, volumeBindingMode: WaitForFirstConsumer}",
	} {
		c.classes = append(c.classes, parse[storagev1.StorageClass](t, text))
	}
	return c
}

func (c *cluster) claim(name, class, size string, mode corev1.PersistentVolumeAccessMode) *corev1.PersistentVolumeClaim {
	p := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name, Annotations: map[string]string{}}}
	p.Spec.StorageClassName, p.Spec.AccessModes = &class, []corev1.PersistentVolumeAccessMode{mode}
	p.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: quantity(size)}
	c.claims = append(c.claims, p)
	return p
}

func (c *cluster) volume(t testing.TB, name, class, size, affinity string) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeAvailable}}
	v.Spec.StorageClassName, v.Spec.AccessModes = class, []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	v.Spec.Capacity = corev1.ResourceList{corev1.ResourceStorage: quantity(size)}
	if affinity != "" {
		v.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: parse[corev1.NodeSelector](t, "nodeSelectorTerms: [{matchExpressions: [{"+affinity+"}]}]")}
	}
	c.volumes = append(c.volumes, v)
	return v
}

func bindTo(p *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) {
	p.Spec.VolumeName, p.Annotations["pv.kubernetes.io/bind-completed"] = v.Name, "yes"
	v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: p.Namespace, Name: p.Name}
	v.Status.Phase = corev1.VolumeBound
}

// using makes a pod that uses claims.
func using(t testing.TB, claims ...string) *corev1.Pod {
	spec := "containers: []\nvolumes:"
	for _, c := range claims {
		spec += "\n- {name: v-" + c + ", persistentVolumeClaim: {claimName: " + c + "}}"
	}
	return podOf(t, spec)
}

func host(name string) string {
	return "key: kubernetes.io/hostname, operator: In, values: [" + name + "]"
}

const inZoneA, inZoneB = "key: zone, operator: In, values: [a]", "key: zone, operator: In, values: [b]"

func TestWhereVolumesCanBeHad(t *testing.T) {
	const once = corev1.ReadWriteOnce
	for _, c := range []struct {
		name string
		set  func(t *testing.T, c *cluster) *corev1.Pod
		want string // nodes
		bind string
	}{
		{"a bound volume in a zone", func(t *testing.T, c *cluster) *corev1.Pod {
			bindTo(c.claim("d", "now", "1Gi", once), c.volume(t, "v", "now", "1Gi", inZoneA))
			return using(t, "d")
		}, "a1 a2", ""},
		{"a bound local volume, on a node whose host has another name", func(t *testing.T, c *cluster) *corev1.Pod {
			bindTo(c.claim("d", "local", "1Gi", once), c.volume(t, "v", "local", "1Gi", host("host-b2")))
			return using(t, "d")
		}, "b2", ""},
		{"two bound volumes", func(t *testing.T, c *cluster) *corev1.Pod {
			bindTo(c.claim("d", "now", "1Gi", once), c.volume(t, "v", "now", "1Gi", inZoneA))
			bindTo(c.claim("e", "local", "1Gi", once), c.volume(t, "w", "local", "1Gi", "key: kubernetes.io/hostname, operator: NotIn, values: [a1]"))
			return using(t, "d", "e")
		}, "a2", ""},
		{"a bound volume with a zone label, as old provisioners write it", func(t *testing.T, c *cluster) *corev1.Pod {
			v := c.volume(t, "v", "now", "1Gi", "")
			v.Labels = map[string]string{corev1.LabelFailureDomainBetaZone: "a__c"}
			bindTo(c.claim("d", "now", "1Gi", once), v)
			c.nodes[0].Labels[corev1.LabelTopologyZone] = "a"
			c.nodes[1].Labels[corev1.LabelTopologyRegion] = "r"
			c.nodes[2].Labels[corev1.LabelFailureDomainBetaZone] = "b"
			return using(t, "d")
		}, "a1 b2", ""}, // b2 has no zone label at all
		{"made anywhere", func(t *testing.T, c *cluster) *corev1.Pod {
			c.claim("d", "later", "1Gi", once)
			return using(t, "d")
		}, "a1 a2 b1 b2", "team/d"},
		{"made where the class allows", func(t *testing.T, c *cluster) *corev1.Pod {
			c.claim("d", "later-in-a", "1Gi", once)
			return using(t, "d")
		}, "a1 a2", "team/d"},
		{"or had where a volume is left", func(t *testing.T, c *cluster) *corev1.Pod {
			c.claim("d", "later-in-a", "1Gi", once)
			c.volume(t, "v", "later-in-a", "1Gi", inZoneB)
			return using(t, "d")
		}, "a1 a2 b1 b2", "team/d"},
		{"being made on a node", func(t *testing.T, c *cluster) *corev1.Pod {
			c.claim("d", "later", "1Gi", once).Annotations["volume.kubernetes.io/selected-node"] = "b1"
			return using(t, "d")
		}, "b1", "team/d"},
		{"local volumes", func(t *testing.T, c *cluster) *corev1.Pod {
			c.claim("d", "local", "10Gi", once)
			c.volume(t, "big-1", "local", "20Gi", host("a1"))
			c.volume(t, "big-2", "local", "10Gi", host("host-b2"))
			c.volume(t, "small", "local", "5Gi", host("a2"))
			c.volume(t, "other", "later", "20Gi", host("b1"))
			c.volume(t, "block", "local", "20Gi", host("b1")).Spec.VolumeMode = new(corev1.PersistentVolumeBlock)
			return using(t, "d")
		}, "a1 b2", "team/d"},
		{"another access mode", func(t *testing.T, c *cluster) *corev1.Pod {
			c.claim("d", "local", "1Gi", corev1.ReadWriteMany)
			c.volume(t, "v", "local", "20Gi", host("a1"))
			return using(t, "d")
		}, "", "team/d"},
		{"volumes that the claim selects", func(t *testing.T, c *cluster) *corev1.Pod {
			c.claim("d", "local", "1Gi", once).Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"disk": "fast"}}
			c.volume(t, "v", "local", "20Gi", host("a1"))
			c.volume(t, "w", "local", "20Gi", host("a2")).Labels = map[string]string{"disk": "fast"}
			return using(t, "d")
		}, "a2", "team/d"},
		{"a volume that is kept for the claim", func(t *testing.T, c *cluster) *corev1.Pod {
			c.claim("d", "local", "1Gi", once)
			c.volume(t, "v", "local", "20Gi", host("a1"))
			c.volume(t, "w", "local", "20Gi", host("a2")).Spec.ClaimRef = &corev1.ObjectReference{Namespace: "team", Name: "d"}
			return using(t, "d")
		}, "a2", "team/d"},
		{"no volumes", func(t *testing.T, c *cluster) *corev1.Pod {
			c.claim("d", "local", "1Gi", once)
			return using(t, "d")
		}, "", "team/d"},
		{"two local volumes of one node", func(t *testing.T, c *cluster) *corev1.Pod {
			c.claim("d", "local", "10Gi", once)
			c.claim("e", "local", "1Gi", once)
			c.volume(t, "v1", "local", "10Gi", host("a1"))
			c.volume(t, "v2", "local", "10Gi", host("a1"))
			c.volume(t, "v3", "local", "10Gi", host("a2"))
			c.volume(t, "v4", "local", "10Gi", host("b1"))
			c.volume(t, "v5", "local", "1Gi", host("b1"))
			return using(t, "d", "e")
		}, "a1 b1", "team/d team/e"},
		{"two volumes that are anywhere", func(t *testing.T, c *cluster) *corev1.Pod {
			c.claim("d", "local", "1Gi", once)
			c.claim("e", "local", "1Gi", once)
			c.volume(t, "v1", "local", "10Gi", "")
			c.volume(t, "v2", "local", "10Gi", host("a2"))
			return using(t, "d", "e")
		}, "a2", "team/d team/e"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := store(t)
			p := c.set(t, cl)
			task := mustRead(t, p, cl)
			var fits []string
			for _, n := range cl.nodes {
				switch why := verdict(t, task, n); why {
				case "":
					fits = append(fits, n.Name)
				case "volume":
				default:
					t.Errorf("%s is refused for its %s", n.Name, why)
				}
			}
			if got := strings.Join(fits, " "); got != c.want {
				t.Errorf("on %q, want %q: %s", got, c.want, task.Where.Key())
			}
			if got := strings.Join(task.Bind, " "); got != c.bind {
				t.Errorf("binds %q, want %q", got, c.bind)
			}
			again, err := pods.ParseWhere(task.Where.Key())
			if err != nil || again.Key() != task.Where.Key() {
				t.Errorf("the key is read as %v, %v", again, err)
			}
		})
	}
}

func TestPodsWaitForTheirVolumes(t *testing.T) {
	const once = corev1.ReadWriteOnce
	now := metav1.Now()
	for _, c := range []struct {
		name string
		set  func(t *testing.T, c *cluster)
		want string
	}{
		{"no claim yet", func(*testing.T, *cluster) {}, "no-claim!?"},
		{"a claim that is being deleted", func(_ *testing.T, c *cluster) { c.claim("d", "later", "1Gi", once).DeletionTimestamp = &now }, "claim-deleted!?"},
		{"a claim that has lost its volume", func(_ *testing.T, c *cluster) { c.claim("d", "now", "1Gi", once).Status.Phase = corev1.ClaimLost }, "claim-lost!"},
		{"a claim that binds at once and has not yet", func(_ *testing.T, c *cluster) { c.claim("d", "now", "1Gi", once) }, "claim-unbound!?"},
		{"a claim without a class", func(_ *testing.T, c *cluster) { c.claim("d", "", "1Gi", once) }, "claim-unbound!?"},
		{"a claim of a class that does not exist", func(_ *testing.T, c *cluster) { c.claim("d", "none", "1Gi", once) }, "claim-unbound!?"},
		{"a claim that its user bound and nobody has completed", func(_ *testing.T, c *cluster) { c.claim("d", "later", "1Gi", once).Spec.VolumeName = "v" }, "claim-unbound!?"},
		{"a bound claim whose volume is not known", func(t *testing.T, c *cluster) {
			bindTo(c.claim("d", "now", "1Gi", once), c.volume(t, "v", "now", "1Gi", ""))
			c.volumes = nil
		}, "no-volume!?"},
		{"volumes whose places can't be told apart by labels or names alone", func(t *testing.T, c *cluster) {
			c.claim("d", "local", "1Gi", once)
			c.volume(t, "v", "local", "1Gi", host("a1"))
			c.volume(t, "w", "local", "1Gi", inZoneB)
		}, "unsupported-volume!"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := store(t)
			c.set(t, cl)
			_, problems := pods.Read(using(t, "d"), cl, cl.terms())
			if got := strings.Join(codes(problems), " "); got != c.want || problems[0].Field == "" || problems[0].Text == "" {
				t.Errorf("got %s %+v", got, problems)
			}
		})
	}
}

func TestEphemeralVolumesHaveTheirOwnClaims(t *testing.T) {
	cl := store(t)
	p := podOf(t, "containers: []\nvolumes: [{name: scratch, ephemeral: {volumeClaimTemplate: {spec: {}}}}]")
	_, problems := pods.Read(p, cl, cl.terms())
	if got := codes(problems); !slices.Equal(got, []string{"no-claim!?"}) {
		t.Errorf("before it is made: %v", got)
	}
	claim := cl.claim("p-scratch", "later", "1Gi", corev1.ReadWriteOnce)
	_, problems = pods.Read(p, cl, cl.terms())
	if got := codes(problems); !slices.Equal(got, []string{"claim-taken!?"}) {
		t.Errorf("somebody else's: %v", got)
	}
	yes := true
	claim.OwnerReferences = []metav1.OwnerReference{{Kind: "Pod", Name: "p", UID: types.UID("uid-p"), Controller: &yes}}
	if task := mustRead(t, p, cl); !slices.Equal(task.Bind, []string{"team/p-scratch"}) {
		t.Errorf("its own: binds %v", task.Bind)
	}
}

func TestAClaimOfOnePodHasOneUserInTheCluster(t *testing.T) {
	cl := store(t)
	terms := cl.terms()
	bindTo(cl.claim("d", "now", "1Gi", corev1.ReadWriteOncePod), cl.volume(t, "v", "now", "1Gi", ""))
	other := named("other", using(t, "d"), nil) // of another scheduler, on a node
	if terms.Counts(other) != nil {
		t.Error("nobody of ours has asked for the claim yet")
	}
	task, _ := pods.Read(using(t, "d"), cl, terms)
	if len(task.Near.Avoids) != 1 || task.Near.Avoids[0].Topology != pods.Everywhere || !slices.Contains(task.Near.Counts, task.Near.Avoids[0].ID) {
		t.Fatalf("%+v", task.Near)
	}
	if !slices.Equal(terms.Counts(other), task.Near.Counts) {
		t.Error("the other user is not counted")
	}
	for _, n := range cl.nodes {
		if node, _ := pods.Node(n, pods.Options{}); node.Labels[pods.Everywhere] != "" || len(node.Labels) == 0 {
			t.Errorf("%s is not in the domain of all nodes", n.Name)
		}
	}
}
