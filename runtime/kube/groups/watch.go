package groups

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/musterhq/muster/runtime/clock"
)

// WatchOptions of a Watch. Client, Dynamic and Discovery are required.
type WatchOptions struct {
	Client    kubernetes.Interface
	Dynamic   dynamic.Interface
	Discovery discovery.DiscoveryInterface
	// Every is the time between two looks at which APIs are served, a minute if 0. A pod
	// that refers to an API which is not served has it looked for sooner.
	Every time.Duration
	// OnChange hears of groups that came, changed in what scheduling reads of them, or
	// went (nil). Calls come one at a time, and must not block.
	OnChange func(Key, *PodGroup)
	Clock    clock.Clock  // real if nil
	Log      *slog.Logger // none if nil
}

// Watch keeps the group objects of all APIs that the cluster serves, native ones in the
// newest version. APIs may come and go with their CRDs while it runs. One that it may
// not list is told of once, and tried again at each look.
type Watch struct {
	o WatchOptions
	Table

	telling sync.Mutex // one change at a time, in the order of the table's

	mu      sync.Mutex
	places  map[API]*place
	classes *feed // of priority classes, nil if they may not be read
	// deniedClasses says that this was told.
	deniedClasses bool
	looked        bool // all APIs were asked after at least once
	synced        bool
	wanted        chan struct{}
	soonest       int64 // before which no pod has APIs looked for again
}

// place is one API: how it is served, and the feed that follows it.
type place struct {
	version string // "" if it is not served
	feed    *feed  // nil if it is not served, or forbidden
	denied  string // why, as last told
}

// candidate is a version in which an API's objects are read.
type candidate struct {
	api     API
	version string
}

// candidates, for each API the best first.
var candidates = []candidate{
	{Native, "v1beta1"}, {Native, "v1alpha2"}, {Volcano, "v1beta1"}, {Coscheduling, "v1alpha1"}, {Ray, "v1"}, {LeaderWorkerSet, "v1"},
}

// objects is the resource that holds the groups.
func (c candidate) objects() string { return strings.ToLower(kindOf(c.api)) + "s" }

func (c candidate) resource(name string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: string(c.api), Version: c.version, Resource: name}
}

// NewWatch makes a Watch that is started by Run.
func NewWatch(o WatchOptions) *Watch {
	if o.Every <= 0 {
		o.Every = time.Minute
	}
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.OnChange == nil {
		o.OnChange = func(Key, *PodGroup) {}
	}
	return &Watch{o: o, places: map[API]*place{}, wanted: make(chan struct{}, 1)}
}

// Run follows the group objects until ctx ends, and returns when all that it started has
// ended. It returns no error: what is wrong with an API is tried again.
func (w *Watch) Run(ctx context.Context) error {
	defer w.stop()
	for {
		w.look(ctx)
		alarm := w.o.Clock.Wake(w.o.Clock.Now() + int64(w.o.Every))
		select {
		case <-ctx.Done():
			return nil
		case <-w.wanted:
		case <-alarm:
		}
	}
}

// PodGroup finds a group. One of an API that is not served may be of a CRD that has just
// come: the APIs are looked at again soon.
func (w *Watch) PodGroup(api API, namespace, name string) *PodGroup {
	g := w.Table.PodGroup(api, namespace, name)
	if g == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		if p := w.places[api]; p == nil || p.feed == nil {
			w.want(5 * time.Second)
		}
	}
	return g
}

// want has APIs looked at again, but not more often than once in a while.
func (w *Watch) want(while time.Duration) {
	now := w.o.Clock.Now()
	if !w.looked || now < w.soonest {
		return
	}
	w.soonest = now + int64(while)
	select {
	case w.wanted <- struct{}{}:
	default:
	}
}

// HasSynced says that the objects of every API that is served and may be read have been
// listed, and OnChange has heard of them. Once true it stays so.
func (w *Watch) HasSynced() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.synced || !w.looked {
		return w.synced
	}
	if w.classes != nil && !w.classes.synced() {
		return false
	}
	for _, p := range w.places { //muster:anyorder all must hold
		if p.feed != nil && !p.feed.synced() {
			return false
		}
	}
	w.synced = true
	return true
}

// Served tells in which version each API is followed; one that is not served, or may
// not be read, is missing.
func (w *Watch) Served() map[API]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[API]string{}
	for api, p := range w.places { //muster:anyorder fills a map
		if p.feed != nil {
			out[api] = p.version
		}
	}
	return out
}

// look asks which APIs are served and starts and stops their feeds. If one can't be asked
// after, it stays as it is.
func (w *Watch) look(ctx context.Context) {
	all := w.followClasses(ctx)
	for _, api := range []API{Native, Volcano, Coscheduling, Ray, LeaderWorkerSet} {
		version, err := w.served(api)
		if err != nil {
			w.o.Log.Debug("group API could not be asked after", "api", api, "error", err)
			all = false
			continue
		}
		w.follow(ctx, api, version)
	}
	w.mu.Lock()
	w.looked = w.looked || all
	w.soonest = w.o.Clock.Now() + int64(5*time.Second)
	w.mu.Unlock()
}

// served is the best version in which an API has PodGroups, "" if none.
func (w *Watch) served(api API) (string, error) {
	for _, c := range candidates {
		if c.api != api {
			continue
		}
		list, err := w.o.Discovery.ServerResourcesForGroupVersion(string(c.api) + "/" + c.version)
		switch {
		case apierrors.IsNotFound(err):
			continue
		case err != nil:
			return "", err
		}
		for i := range list.APIResources {
			if list.APIResources[i].Name == c.objects() {
				return c.version, nil
			}
		}
	}
	return "", nil
}

// follow sees to it that an API is followed in a version, and in no other.
func (w *Watch) follow(ctx context.Context, api API, version string) {
	w.mu.Lock()
	p := w.places[api]
	if p == nil {
		p = &place{}
		w.places[api] = p
	}
	old := p.feed
	if old != nil && p.version == version && !old.broken() {
		w.mu.Unlock()
		return
	}
	p.version, p.feed = version, nil
	w.mu.Unlock()

	if old != nil {
		old.stop()
	}
	if version == "" {
		w.forget(api, nil)
		return
	}
	c := candidate{api, version}
	if err := w.probe(ctx, c); apierrors.IsForbidden(err) {
		w.deny(p, c, err)
		return
	}
	f := w.start(ctx, c)
	w.mu.Lock()
	p.feed, p.denied = f, ""
	w.mu.Unlock()
	w.o.Log.Info("following group objects", "api", api, "version", version)
}

// withoutThem is what becomes of the pods of group objects that can't be read.
var withoutThem = map[API]string{
	Native: "pods that refer to PodGroups wait", Volcano: "pods that refer to PodGroups wait", Coscheduling: "pods that refer to PodGroups wait",
	Ray:             "of RayClusters without task groups only the heads must start, and the hosts of a replica start one by one",
	LeaderWorkerSet: "replicas start as a whole, with the startup policy LeaderReady never",
}

// deny tells once why an API is not read.
func (w *Watch) deny(p *place, c candidate, err error) {
	w.mu.Lock()
	told := p.denied
	p.denied = err.Error()
	w.mu.Unlock()
	if told != err.Error() {
		w.o.Log.Warn("group objects may not be read; "+withoutThem[c.api],
			"api", c.api, "version", c.version, "error", err, "hint", "allow list and watch of "+c.objects())
	}
}

// stop ends all feeds.
func (w *Watch) stop() {
	w.mu.Lock()
	var feeds []*feed
	if w.classes != nil {
		feeds = append(feeds, w.classes)
	}
	for _, p := range w.places { //muster:anyorder all are stopped
		if p.feed != nil {
			feeds = append(feeds, p.feed)
		}
	}
	w.mu.Unlock()
	for _, f := range feeds {
		f.stop()
	}
}
