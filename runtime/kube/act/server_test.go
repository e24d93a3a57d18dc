package act

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// server is an API server as far as acting needs one: it stores objects as JSON, and
// binds, evicts and patches pods by the rules of the real one (UID preconditions, a bound
// pod is not bound again). Requests go through fault first.
type server struct {
	http *httptest.Server
	t    testing.TB

	mu      sync.Mutex
	objects map[string]map[string]any // by path: "pods/default/a", "nodes//n1"
	log     []string                  // writes that were carried out: "bind default/a n1"
	binds   map[string]int            // of each pod UID, that were carried out
	writes  int
	seq     int
	now     int // requests being served
	most    int
	seen    map[string]int // requests by verb and resource, faulted ones too

	// fault may answer in the server's stead (true), before the request is carried out, or
	// have the answer lost afterwards.
	fault func(r *call) fault
	// budget refuses evictions of these pods.
	budget map[string]bool
}

// call is one request.
type call struct {
	verb, resource, namespace, name, sub string
	body                                 []byte
	contentType                          string
	query                                string
}

func (c *call) write() bool { return c.verb != http.MethodGet }
func (c *call) is(verb, resource, sub string) bool {
	return c.verb == verb && c.resource == resource && c.sub == sub
}

type fault struct {
	status  int           // answer with it, not carrying out
	message string        // of the status
	drop    bool          // close the connection without an answer, not carrying out
	lose    bool          // carry out and close the connection
	delay   time.Duration // before anything
	stall   time.Duration // after carrying out, before the answer
}

func newServer(t testing.TB) *server {
	s := &server{t: t, objects: map[string]map[string]any{}, binds: map[string]int{}, seen: map[string]int{}, budget: map[string]bool{}}
	s.http = httptest.NewServer(s)
	t.Cleanup(s.http.Close)
	return s
}

func (s *server) client() kubernetes.Interface { return clientOf(s.t, s.http.URL) }

func clientOf(t testing.TB, url string) kubernetes.Interface {
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	c, err := kubernetes.NewForConfig(&rest.Config{
		Host: url, QPS: -1, Transport: transport,
		ContentConfig: rest.ContentConfig{ContentType: "application/json", AcceptContentTypes: "application/json"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := parse(r)
	s.mu.Lock()
	s.now++
	s.most = max(s.most, s.now)
	s.seen[strings.TrimSuffix(c.verb+" "+c.resource+"/"+c.sub, "/")]++
	var f fault
	if s.fault != nil {
		f = s.fault(c)
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.now--
		s.mu.Unlock()
	}()
	time.Sleep(f.delay)
	if f.drop {
		hangUp(w)
		return
	}
	if f.status != 0 {
		reply(w, f.status, failure(f.status, f.message))
		return
	}
	s.mu.Lock()
	code, answer := s.serve(c)
	s.mu.Unlock()
	time.Sleep(f.stall)
	if f.lose {
		hangUp(w)
		return
	}
	reply(w, code, answer)
}

func hangUp(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

func reply(w http.ResponseWriter, code int, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(data)
}

func failure(code int, message string) metav1.Status {
	reasons := map[int]metav1.StatusReason{
		400: metav1.StatusReasonBadRequest, 401: metav1.StatusReasonUnauthorized, 403: metav1.StatusReasonForbidden, 404: metav1.StatusReasonNotFound,
		409: metav1.StatusReasonConflict, 429: metav1.StatusReasonTooManyRequests, 500: metav1.StatusReasonInternalError,
		503: metav1.StatusReasonServiceUnavailable, 504: metav1.StatusReasonTimeout,
	}
	return metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Code: int32(code), Reason: reasons[code], Message: message,
	}
}

// parse reads /api/v1/namespaces/NS/RES/NAME/SUB, /apis/G/V/RES/NAME and the like.
func parse(r *http.Request) *call {
	c := &call{verb: r.Method, contentType: r.Header.Get("Content-Type"), query: r.URL.Query().Get("labelSelector")}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if parts[0] == "api" {
		parts = parts[2:]
	} else {
		parts = parts[3:]
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		c.namespace, parts = parts[1], parts[2:]
	}
	parts = append(parts, "", "")
	c.resource, c.name, c.sub = parts[0], parts[1], parts[2]
	c.body, _ = io.ReadAll(r.Body)
	return c
}

func (c *call) path() string { return c.resource + "/" + c.namespace + "/" + c.name }

// serve carries a request out; s.mu is held.
func (s *server) serve(c *call) (int, any) {
	if c.write() {
		s.writes++
	}
	switch {
	case c.verb == http.MethodPost && c.sub == "":
		return s.create(c)
	case c.verb == http.MethodGet && c.name == "":
		return s.list(c)
	}
	o := s.objects[c.path()]
	if o == nil {
		return 404, failure(404, c.path()+" not found")
	}
	switch {
	case c.verb == http.MethodGet:
		return 200, o
	case c.verb == http.MethodPost && c.sub == "binding":
		return s.bind(c, o)
	case c.verb == http.MethodPost && c.sub == "eviction":
		return s.evict(c, o)
	case c.verb == http.MethodPatch:
		return s.patch(c, o)
	case c.verb == http.MethodPut:
		return s.update(c, o)
	case c.verb == http.MethodDelete:
		return s.delete(c, o)
	}
	return 405, failure(405, c.verb)
}

func (s *server) create(c *call) (int, any) {
	o := map[string]any{}
	if err := json.Unmarshal(c.body, &o); err != nil {
		return 400, failure(400, err.Error())
	}
	c.name, _ = meta(o)["name"].(string)
	if s.objects[c.path()] != nil {
		f := failure(409, c.path()+" already exists")
		f.Reason = metav1.StatusReasonAlreadyExists
		return 409, f
	}
	s.store(c.path(), o)
	s.log = append(s.log, "create "+c.path())
	return 201, o
}

func (s *server) store(path string, o map[string]any) {
	s.seq++
	m := meta(o)
	m["resourceVersion"] = fmt.Sprint(s.seq)
	if m["uid"] == nil {
		m["uid"] = fmt.Sprintf("uid-%d", s.seq)
	}
	if m["creationTimestamp"] == nil {
		m["creationTimestamp"] = time.Unix(int64(s.seq), 0).UTC().Format(time.RFC3339)
	}
	s.objects[path] = o
}

func meta(o map[string]any) map[string]any {
	m, _ := o["metadata"].(map[string]any)
	if m == nil {
		m = map[string]any{}
		o["metadata"] = m
	}
	return m
}

func field(o map[string]any, path ...string) any {
	for _, p := range path[:len(path)-1] {
		o, _ = o[p].(map[string]any)
	}
	return o[path[len(path)-1]]
}

func (s *server) list(c *call) (int, any) {
	items := []any{}
	for _, path := range slices.Sorted(maps.Keys(s.objects)) {
		if !strings.HasPrefix(path, c.resource+"/"+c.namespace+"/") {
			continue
		}
		if key, value, ok := strings.Cut(c.query, "="); ok && field(s.objects[path], "metadata", "labels", key) != value {
			continue
		}
		items = append(items, s.objects[path])
	}
	return 200, map[string]any{"metadata": map[string]any{}, "items": items}
}

func (s *server) bind(c *call, o map[string]any) (int, any) {
	var b corev1.Binding
	if err := json.Unmarshal(c.body, &b); err != nil {
		return 400, failure(400, err.Error())
	}
	uid := meta(o)["uid"].(string)
	node, _ := field(o, "spec", "nodeName").(string)
	switch {
	case b.UID != "" && string(b.UID) != uid:
		return 409, failure(409, "Precondition failed: UID in precondition")
	case meta(o)["deletionTimestamp"] != nil:
		return 409, failure(409, "pod is being deleted, cannot be assigned to a host")
	case node != "":
		return 409, failure(409, "pod is already assigned to node "+node)
	case field(o, "spec", "schedulingGates") != nil:
		return 409, failure(409, "pod has non-empty .spec.schedulingGates")
	}
	o["spec"].(map[string]any)["nodeName"] = b.Target.Name
	s.patchObject(o, &corev1.Pod{}, `{"status":{"nominatedNodeName":null,"conditions":[{"type":"PodScheduled","status":"True","reason":null,"message":null}]}}`)
	s.binds[uid]++
	s.log = append(s.log, "bind "+c.namespace+"/"+c.name+" "+b.Target.Name)
	return 201, metav1.Status{Status: metav1.StatusSuccess}
}

func (s *server) evict(c *call, o map[string]any) (int, any) {
	var e policyv1.Eviction
	if err := json.Unmarshal(c.body, &e); err != nil {
		return 400, failure(400, err.Error())
	}
	if uid := e.DeleteOptions.Preconditions.UID; string(*uid) != meta(o)["uid"] {
		return 409, failure(409, "the UID in the precondition does not match")
	}
	if s.budget[c.name] {
		f := failure(429, "Cannot evict pod as it would violate the pod's disruption budget.")
		f.Details = &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: policyv1.DisruptionBudgetCause}}}
		return 429, f
	}
	delete(s.objects, c.path())
	s.log = append(s.log, "evict "+c.namespace+"/"+c.name)
	return 201, metav1.Status{Status: metav1.StatusSuccess}
}

func (s *server) delete(c *call, o map[string]any) (int, any) {
	var d metav1.DeleteOptions
	if len(c.body) > 0 {
		if err := json.Unmarshal(c.body, &d); err != nil {
			return 400, failure(400, err.Error())
		}
	}
	if d.Preconditions != nil && d.Preconditions.UID != nil && string(*d.Preconditions.UID) != meta(o)["uid"] {
		return 409, failure(409, "the UID in the precondition does not match")
	}
	delete(s.objects, c.path())
	s.log = append(s.log, "delete "+c.path())
	return 200, metav1.Status{Status: metav1.StatusSuccess}
}

func (s *server) patch(c *call, o map[string]any) (int, any) {
	body := map[string]any{}
	if err := json.Unmarshal(c.body, &body); err != nil {
		return 400, failure(400, err.Error())
	}
	for _, key := range []string{"uid", "resourceVersion"} {
		if want := field(body, "metadata", key); want != nil && want != meta(o)[key] {
			return 409, failure(409, "the "+key+" in the precondition does not match")
		}
	}
	s.log = append(s.log, strings.TrimSuffix("patch "+c.path()+"/"+c.sub, "/"))
	if c.contentType == string(types.StrategicMergePatchType) {
		s.patchObject(o, &corev1.Pod{}, string(c.body))
	} else {
		merge(o, body)
	}
	s.store(c.path(), o)
	return 200, o
}

func (s *server) patchObject(o map[string]any, schema any, body string) {
	old, _ := json.Marshal(o)
	merged, err := strategicpatch.StrategicMergePatch(old, []byte(body), schema)
	if err != nil {
		s.t.Error(err)
		return
	}
	fresh := map[string]any{}
	if err := json.Unmarshal(merged, &fresh); err != nil {
		s.t.Error(err)
	}
	clear(o)
	maps.Copy(o, fresh)
}

// merge is JSON merge patch (RFC 7396).
func merge(o, patch map[string]any) {
	for k, v := range patch {
		inner, isMap := v.(map[string]any)
		switch {
		case v == nil:
			delete(o, k)
		case isMap:
			into, _ := o[k].(map[string]any)
			if into == nil {
				into = map[string]any{}
				o[k] = into
			}
			merge(into, inner)
		default:
			o[k] = v
		}
	}
}

func (s *server) update(c *call, o map[string]any) (int, any) {
	fresh := map[string]any{}
	if err := json.Unmarshal(c.body, &fresh); err != nil {
		return 400, failure(400, err.Error())
	}
	if meta(fresh)["resourceVersion"] != meta(o)["resourceVersion"] {
		return 409, failure(409, "the object has been modified")
	}
	s.store(c.path(), fresh)
	s.log = append(s.log, "update "+c.path())
	return 200, fresh
}

// add puts objects there, as others would.
func (s *server) add(objects ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, obj := range objects {
		data, err := json.Marshal(obj)
		if err != nil {
			s.t.Fatal(err)
		}
		o := map[string]any{}
		if err := json.Unmarshal(data, &o); err != nil {
			s.t.Fatal(err)
		}
		m := meta(o)
		if m["creationTimestamp"] == nil {
			delete(m, "creationTimestamp")
		}
		s.store(pathOf(obj, m), o)
	}
}

func pathOf(obj any, m map[string]any) string {
	namespace, _ := m["namespace"].(string)
	kind := strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", obj), "*v1."))
	plural := map[string]string{"storageclass": "storageclasses"}
	resource, ok := plural[kind]
	if !ok {
		resource = kind + "s"
	}
	return fmt.Sprintf("%s/%s/%s", resource, namespace, m["name"])
}

// pods makes n pending pods p0, p1, … in namespace team.
func (s *server) pods(n int) []Pod {
	out := make([]Pod, n)
	for i := range out {
		name := fmt.Sprintf("p%d", i)
		out[i] = Pod{types.NamespacedName{Namespace: "team", Name: name}, types.UID("u-" + name)}
		s.add(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name, UID: out[i].UID}})
	}
	return out
}

func (s *server) pod(p Pod) *corev1.Pod {
	pod := &corev1.Pod{}
	s.read("pods/"+p.Namespace+"/"+p.Name, pod)
	return pod
}

// read gives false if there is no such object.
func (s *server) read(path string, into any) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.objects[path]
	if o == nil {
		return false
	}
	data, _ := json.Marshal(o)
	if err := json.Unmarshal(data, into); err != nil {
		s.t.Fatal(err)
	}
	return true
}

// count says how many objects there are of a resource.
func (s *server) count(resource string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for path := range s.objects {
		if strings.HasPrefix(path, resource+"/") {
			n++
		}
	}
	return n
}

func (s *server) history(prefix string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, l := range s.log {
		if strings.HasPrefix(l, prefix) {
			out = append(out, l)
		}
	}
	return out
}

func (s *server) setFault(f func(*call) fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// heard is Outcomes that remembers.
type heard struct {
	mu     sync.Mutex
	bound  map[types.UID]string
	failed map[types.UID]error
	gone   map[types.UID]bool
	evicts map[types.UID]error
	paused []bool
	twice  []string
}

func newHeard() *heard {
	return &heard{bound: map[types.UID]string{}, failed: map[types.UID]error{}, gone: map[types.UID]bool{}, evicts: map[types.UID]error{}}
}

func (h *heard) once(uid types.UID) {
	if _, ok := h.bound[uid]; ok || h.failed[uid] != nil {
		h.twice = append(h.twice, string(uid))
	}
}

func (h *heard) Bound(_ string, _ int32, p Pod, node string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.once(p.UID)
	h.bound[p.UID] = node
}

func (h *heard) BindFailed(_ string, _ int32, p Pod, _ string, err error, gone bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.once(p.UID)
	h.failed[p.UID], h.gone[p.UID] = err, gone
}

func (h *heard) EvictFailed(_ string, p Pod, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.evicts[p.UID] = err
}

func (h *heard) Paused(p bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.paused = append(h.paused, p)
}

func (h *heard) settled() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.bound) + len(h.failed)
}

func (h *heard) boundCount() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.bound)
}

func (h *heard) pauses() []bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.paused)
}

// hasty is a clock that runs a thousand times as fast as the machine's.
type hasty struct{}

var hastyStart = time.Now()

func (hasty) Now() int64 { return hastyStart.UnixNano() + int64(time.Since(hastyStart))*1000 }
func (c hasty) Wake(t int64) <-chan int64 {
	ch := make(chan int64, 1)
	time.AfterFunc(time.Duration((t-c.Now())/1000+1), func() { ch <- t })
	return ch
}

// running starts an actor, and gives the way to end it.
func running(t testing.TB, s *server, o Options, h *heard) (*Actor, func()) {
	t.Helper()
	return runOn(s.client(), o, h)
}

func runOn(client kubernetes.Interface, o Options, h *heard) (*Actor, func()) {
	a := New(client, o, h)
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() { defer close(over); a.Run(ctx) }()
	return a, sync.OnceFunc(func() { cancel(); <-over })
}

// eventually polls, with a deadline that only a broken test meets.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// gang is a unit of the pods, all on node n.
func gang(job string, node string, pods ...Pod) Unit {
	u := Unit{Job: job, Gang: len(pods) > 1}
	for i, p := range pods {
		u.Binds = append(u.Binds, Bind{Pod: p, Task: int32(i), Node: node})
	}
	return u
}
