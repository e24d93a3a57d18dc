package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"github.com/musterhq/muster/runtime/clock"
	api "github.com/musterhq/muster/runtime/kube/api/v1alpha1"
	"github.com/musterhq/muster/runtime/kube/objects"
)

// ObjectsOptions say how to reach Queue objects.
type ObjectsOptions struct {
	Client dynamic.Interface
	Events objects.Recorder
	Clock  clock.Clock // nil is the real one
	// Every is how often the status of one object is written at most, for what it uses;
	// 0 is 5 s. Conditions are written at once.
	Every time.Duration
	// Failed hears of a status that could not be written; it is tried again. nil hears
	// nothing.
	Failed func(error)
}

// Objects are the Queue objects of a cluster.
type Objects struct {
	*holder
	o        ObjectsOptions
	informer cache.SharedIndexInformer
	status   *statusWriter

	held   versions // what the tree that holds was made of
	ghosts versions // of those, deleted ones that jobs still run in
	told   map[string]string
}

// NewObjects returns a source that reads Queue objects.
func NewObjects(o ObjectsOptions) (*Objects, error) {
	if o.Events == nil {
		o.Events = objects.NoEvents{}
	}
	if o.Failed == nil {
		o.Failed = func(error) {}
	}
	if o.Every == 0 {
		o.Every = 5 * time.Second
	}
	s := &Objects{o: o, holder: newHolder(o.Clock, "the list of Queue objects"), held: versions{}, ghosts: versions{}, told: map[string]string{}}
	s.informer = dynamicinformer.NewFilteredDynamicInformer(o.Client, api.Queues, "", 0, cache.Indexers{}, nil).Informer()
	if err := s.informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		s.missing(fmt.Errorf("the Queue objects can't be read: %w", err))
	}); err != nil {
		return nil, err
	}
	if _, err := s.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { s.wake() },
		UpdateFunc: func(before, now any) {
			if changed(before, now) {
				s.wake()
			} else { // its status, by us or by whoever leads
				s.status.seen(now)
			}
		},
		DeleteFunc: func(any) { s.wake() },
	}); err != nil {
		return nil, err
	}
	s.status = newStatusWriter(o.Client.Resource(api.Queues), s.clock, o.Every, o.Failed)
	s.status.leaderless = func() bool { return s.tree() == nil }
	return s, nil
}

// changed says whether an object has another spec, or is another one of its name.
func changed(before, now any) bool {
	a, okA := before.(*unstructured.Unstructured)
	b, okB := now.(*unstructured.Unstructured)
	return !okA || !okB || a.GetGeneration() != b.GetGeneration() || a.GetUID() != b.GetUID()
}

// Report says what the queues have, by their paths; it never blocks. What has changed is
// written, each object at most every few seconds. Only the replica that leads may report:
// from then on this one writes the status of the objects, which all others leave alone.
func (s *Objects) Report(use map[string]Use) { s.status.report(use) }

// Watch hands on the tree of the objects whenever that changes.
func (s *Objects) Watch(ctx context.Context, apply Apply) error {
	var working sync.WaitGroup
	defer working.Wait()
	working.Go(func() { s.informer.RunWithContext(ctx) })
	working.Go(func() { s.status.run(ctx) })
	if !cache.WaitForCacheSync(ctx.Done(), s.informer.HasSynced) {
		return ctx.Err()
	}
	s.wake()
	var again time.Duration
	for s.wait(ctx, s.alarm(again)) {
		if s.rest(ctx); ctx.Err() != nil {
			break
		}
		again = 0
		if !s.look(apply) {
			again = retryAfter
		}
	}
	return ctx.Err()
}

// rest waits until the objects are left alone for a moment, but not for ever.
func (s *Objects) rest(ctx context.Context) {
	for range 10 {
		select {
		case <-ctx.Done():
			return
		case <-s.knock:
		case <-s.alarm(settle):
			return
		}
	}
}

// look judges the objects, applies the tree and tells; false is to look again later.
func (s *Objects) look(apply Apply) bool {
	now := s.list()
	if len(now) == 0 && s.tree() == nil {
		s.missing(errors.New("there are no Queue objects; create one by kubectl apply"))
		return true
	}
	v, err := s.applyBest(now, apply)
	done := err == nil && len(s.ghosts) == 0
	if v.tree == nil {
		s.missing(fmt.Errorf("the Queue objects make no tree: %s", strings.Join(everything(v.findings), "; ")))
	}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		f, ok := v.findings[name]
		if !ok || err != nil && f.reason == Applied && !same(s.held[name], now[name]) {
			f = waiting(err)
		}
		s.tell(now[name], f, v.paths[name])
	}
	s.status.forget(now)
	maps.DeleteFunc(s.told, func(name, _ string) bool { return now[name] == nil && s.ghosts[name] == nil })
	return done
}

// waiting is what is said of an object that nothing is wrong with.
func waiting(err error) finding {
	if err != nil && !errors.Is(err, errNoTree) {
		return finding{InUse, []string{fmt.Sprintf("it can't hold yet: %v; it is tried again every %s", err, retryAfter)}}
	}
	return finding{Waiting, []string{"other queues must be corrected first"}}
}

func everything(findings map[string]finding) (out []string) {
	for _, name := range slices.Sorted(maps.Keys(findings)) {
		out = append(out, "Queue "+name+": "+strings.Join(findings[name].lines, ", "))
	}
	return out
}

// list reads the objects, sorted out by name.
func (s *Objects) list() versions {
	out := versions{}
	for _, o := range s.informer.GetStore().List() {
		q := &api.Queue{}
		u, ok := o.(*unstructured.Unstructured)
		if !ok || runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, q) != nil {
			continue // the schema of the CRD lets no such object in
		}
		out[q.Name] = q
	}
	return out
}

// applyBest applies the tree of the objects. If a queue was deleted that jobs still run
// in, that queue stays until they are gone, and all other changes hold at once.
func (s *Objects) applyBest(now versions, apply Apply) (verdict, error) {
	v := judge(now, s.held)
	err := s.try(v, apply)
	if err == nil {
		s.ghosts = versions{}
		return v, nil
	}
	gone := versions{}
	for name, q := range s.held {
		if now[name] == nil {
			gone[name] = q
		}
	}
	if len(gone) == 0 || v.tree == nil {
		return v, err
	}
	kept := judge(with(now, gone), s.held)
	if err := s.try(kept, apply); err != nil {
		return kept, err
	}
	for _, name := range deepestFirst(gone, kept.paths) {
		fewer := maps.Clone(gone)
		delete(fewer, name)
		w := judge(with(now, fewer), s.held)
		if err := s.try(w, apply); err != nil {
			s.haunt(gone[name], err)
			continue
		}
		kept, gone = w, fewer
	}
	s.ghosts = gone
	return kept, nil
}

func with(now, more versions) versions {
	out := maps.Clone(now)
	maps.Copy(out, more)
	return out
}

func deepestFirst(list versions, paths map[string]string) []string {
	names := slices.Sorted(maps.Keys(list))
	slices.SortStableFunc(names, func(a, b string) int {
		return strings.Count(paths[b], ".") - strings.Count(paths[a], ".")
	})
	return names
}

// errNoTree is a verdict without a tree.
var errNoTree = errors.New("the Queue objects make no tree")

// try applies the tree of a verdict, and keeps what it was made of.
func (s *Objects) try(v verdict, apply Apply) error {
	if v.tree == nil {
		return errNoTree
	}
	if err := s.take(v.tree, apply); err != nil {
		return err
	}
	s.held = v.used
	return nil
}

// haunt tells that a deleted queue still holds, once.
func (s *Objects) haunt(q *api.Queue, err error) {
	text := fmt.Sprintf("it is deleted, and holds until no job needs it: %v", err)
	if s.ghosts[q.Name] != nil {
		return
	}
	s.o.Events.Event(objects.Reference(api.QueueKind, q), corev1.EventTypeWarning, InUse, objects.Cut(objects.MaxEvent, text))
}

// tell sets the condition of an object, and makes an event of a new refusal.
func (s *Objects) tell(q *api.Queue, f finding, path string) {
	s.status.accept(q, acceptance{reason: f.reason, text: describe(f), path: path, held: s.held[q.Name] != nil})
	text := string(q.UID) + f.reason + "\n" + describe(f)
	if s.told[q.Name] == text {
		return
	}
	s.told[q.Name] = text
	if f.reason != Applied {
		s.o.Events.Event(objects.Reference(api.QueueKind, q), corev1.EventTypeWarning, f.reason, objects.Cut(objects.MaxEvent, describe(f)))
	}
}

func describe(f finding) string {
	switch {
	case f.reason != Applied:
		return strings.Join(f.lines, "\n")
	case len(f.lines) == 0:
		return "the queue is as the spec says"
	}
	return objects.Lines(4096, "the queue is as the spec says, with warnings", f.lines)
}
