package act

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
)

// IntentLabel marks the ConfigMaps that record which gang is being bound.
const IntentLabel = "muster.dev/intent"

const (
	intentKey     = "unit"
	intentVersion = 1
	intentMax     = 900_000 // bytes of a record; etcd refuses objects above 1.5 MB
)

// intent is one record, or one part of it: what must be bound, whole or not at all.
type intent struct {
	Version int          `json:"v"`
	Unit    string       `json:"unit"` // the same in all parts
	Part    int          `json:"part"`
	Parts   int          `json:"parts"`
	Job     string       `json:"job"`
	Binds   []intentBind `json:"binds"`
}

type intentBind struct {
	Namespace string    `json:"ns"`
	Name      string    `json:"pod"`
	UID       types.UID `json:"uid"`
	Task      int32     `json:"task"`
	Node      string    `json:"node"`
	Claims    []string  `json:"claims,omitempty"`
	Because   string    `json:"why,omitempty"`
}

func (i *intentBind) bind() Bind {
	pod := Pod{types.NamespacedName{Namespace: i.Namespace, Name: i.Name}, i.UID}
	return Bind{Pod: pod, Task: i.Task, Node: i.Node, Claims: i.Claims, Because: i.Because}
}

// record writes down what the unit is going to do, before it does any of it. A unit that
// the last leader began is recorded already.
func (r *unitRun) record(ctx context.Context) error {
	if !r.unit.Gang || len(r.unit.Binds) < 2 || len(r.unit.Records) > 0 {
		return nil
	}
	name := "muster-intent-" + utilrand.String(10)
	for i, data := range encodeIntent(name, r.unit, intentMax) {
		if err := r.write(ctx, fmt.Sprintf("%s-%d", name, i), data); err != nil {
			return fmt.Errorf("recording the gang: %w", err)
		}
	}
	return nil
}

func (r *unitRun) write(ctx context.Context, name, data string) error {
	record := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: r.a.opts.Namespace,
			Labels:      map[string]string{IntentLabel: "true"},
			Annotations: map[string]string{"muster.dev/by": r.a.opts.Identity},
		},
		Data: map[string]string{intentKey: data},
	}
	r.unit.Records = append(r.unit.Records, name) // even a failed attempt may have written it
	err := r.a.persist(ctx, r.turn, func(ctx context.Context) error {
		_, err := r.a.api.CoreV1().ConfigMaps(r.a.opts.Namespace).Create(ctx, record, metav1.CreateOptions{})
		return err
	})
	if err != nil && !apierrors.IsAlreadyExists(err) { // the name is ours alone
		return err
	}
	r.a.stats.intents.Add(1)
	return nil
}

// encodeIntent gives the unit's record in as many parts as its size needs. Strings are
// JSON of at most limit bytes, or of one bind.
func encodeIntent(name string, u *Unit, limit int) []string {
	head := intent{Version: intentVersion, Unit: name, Job: u.Job}
	var parts [][]intentBind
	room := 0
	for i := range u.Binds {
		b := &u.Binds[i]
		ib := intentBind{b.Pod.Namespace, b.Pod.Name, b.Pod.UID, b.Task, b.Node, b.Claims, b.Because}
		size := len(marshal(ib)) + 1
		if room < size {
			parts = append(parts, nil)
			room = limit - len(marshal(head)) - 24 // two numbers may grow
		}
		room -= size
		parts[len(parts)-1] = append(parts[len(parts)-1], ib)
	}
	out := make([]string, len(parts))
	for i, binds := range parts {
		head.Part, head.Parts, head.Binds = i, len(parts), binds
		out[i] = marshal(head)
	}
	return out
}

func marshal(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return string(data)
}

// erase removes the unit's records: it is bound, or what could not be was reported.
func (r *unitRun) erase(ctx context.Context) {
	for _, name := range r.unit.Records {
		err := r.a.persist(ctx, r.turn, func(ctx context.Context) error {
			return r.a.api.CoreV1().ConfigMaps(r.a.opts.Namespace).Delete(ctx, name, metav1.DeleteOptions{})
		})
		if err != nil && !apierrors.IsNotFound(err) && !errors.Is(err, errStopped) {
			r.a.opts.Log.Warn("the record of a finished gang stays; the next leader removes it", "record", name, "job", r.unit.Job, "err", err)
		}
	}
}

// Intents reads what the last leader had begun and not finished, oldest first: units with
// the binds that are still to be made, and in Done those that were made. It is called
// before the first Do. Each unit must be given to Do, to finish it, or to Abandon.
// Records that make no sense are logged and removed.
func (a *Actor) Intents(ctx context.Context) ([]Unit, error) {
	list, err := a.api.CoreV1().ConfigMaps(a.opts.Namespace).List(ctx, metav1.ListOptions{LabelSelector: IntentLabel + "=true"})
	if err != nil {
		return nil, fmt.Errorf("reading what was begun: %w", err)
	}
	var out []Unit
	for _, u := range a.assemble(ctx, list.Items) {
		if err := a.sift(ctx, &u); err != nil {
			return nil, err
		}
		if len(u.Binds) == 0 {
			a.unlist(ctx, u.Records)
			continue
		}
		out = append(out, u)
	}
	return out, nil
}

// assemble joins the parts of the records. One that lacks a part was not begun, as the
// first bind comes after the last part.
func (a *Actor) assemble(ctx context.Context, items []corev1.ConfigMap) []Unit {
	slices.SortFunc(items, func(x, y corev1.ConfigMap) int {
		return cmp.Or(x.CreationTimestamp.Compare(y.CreationTimestamp.Time), cmp.Compare(x.Name, y.Name))
	})
	var order []string
	parts := map[string][]*intent{}
	records := map[string][]string{}
	for i := range items {
		in, err := decodeIntent(&items[i])
		if err != nil {
			a.opts.Log.Warn("a record of a gang makes no sense and is removed", "record", items[i].Name, "err", err)
			a.unlist(ctx, []string{items[i].Name})
			continue
		}
		if parts[in.Unit] == nil {
			order = append(order, in.Unit)
		}
		parts[in.Unit] = append(parts[in.Unit], in)
		records[in.Unit] = append(records[in.Unit], items[i].Name)
	}
	var out []Unit
	for _, name := range order {
		u, whole := join(parts[name])
		u.Records = records[name]
		if !whole {
			a.opts.Log.Info("a gang was recorded in part only, so none of it was bound", "job", u.Job)
			a.unlist(ctx, u.Records)
			continue
		}
		out = append(out, u)
	}
	return out
}

func decodeIntent(m *corev1.ConfigMap) (*intent, error) {
	in := &intent{}
	if err := json.Unmarshal([]byte(m.Data[intentKey]), in); err != nil {
		return nil, err
	}
	switch {
	case in.Version != intentVersion:
		return nil, fmt.Errorf("version %d is not known", in.Version)
	case in.Unit == "" || len(in.Binds) == 0 || in.Part < 0 || in.Part >= in.Parts:
		return nil, errors.New("unit, part or binds are missing")
	}
	for i := range in.Binds {
		if b := &in.Binds[i]; b.Namespace == "" || b.Name == "" || b.UID == "" || b.Node == "" {
			return nil, fmt.Errorf("bind %d is incomplete", i)
		}
	}
	return in, nil
}

func join(parts []*intent) (u Unit, whole bool) {
	slices.SortFunc(parts, func(x, y *intent) int { return x.Part - y.Part })
	u = Unit{Job: parts[0].Job, Gang: true}
	whole = len(parts) == parts[0].Parts
	for i, p := range parts {
		whole = whole && p.Part == i && p.Parts == len(parts)
		for j := range p.Binds {
			u.Binds = append(u.Binds, p.Binds[j].bind())
		}
	}
	return u, whole
}

// sift moves the binds that were made to Done, asking the API server itself: the answer
// must not be older than the last leader's binds.
func (a *Actor) sift(ctx context.Context, u *Unit) error {
	bound := make([]bool, len(u.Binds))
	errs := make([]error, len(u.Binds))
	each(ctx, len(u.Binds), a.opts.Workers, func(i int) {
		b := &u.Binds[i]
		pod, err := a.api.CoreV1().Pods(b.Pod.Namespace).Get(ctx, b.Pod.Name, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			errs[i] = err
			return
		}
		bound[i] = err == nil && pod.UID == b.Pod.UID && pod.Spec.NodeName == b.Node
	})
	if err := errors.Join(append(errs, ctx.Err())...); err != nil {
		return fmt.Errorf("reading how far %s was: %w", u.Job, err)
	}
	all := u.Binds
	u.Binds = nil
	for i, b := range all {
		if bound[i] {
			u.Done = append(u.Done, b)
		} else {
			u.Binds = append(u.Binds, b)
		}
	}
	return nil
}

// Abandon removes the records of a unit that Intents gave and that is not going to be
// finished. It returns when they are gone, ctx ends, or patience is used up.
func (a *Actor) Abandon(ctx context.Context, u Unit) {
	for _, name := range u.Records {
		a.stays(name, a.again(ctx, a.opts.Patience, func() error { return a.remove(ctx, name) }))
	}
}

// unlist removes records, or leaves them to the next leader.
func (a *Actor) unlist(ctx context.Context, names []string) {
	for _, name := range names {
		a.stays(name, a.remove(ctx, name))
	}
}

func (a *Actor) remove(ctx context.Context, name string) error {
	return a.api.CoreV1().ConfigMaps(a.opts.Namespace).Delete(ctx, name, metav1.DeleteOptions{})
}

func (a *Actor) stays(name string, err error) {
	if err != nil && !apierrors.IsNotFound(err) {
		a.opts.Log.Warn("a record can't be removed", "record", name, "err", err)
	}
}
