package serve_test

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/runtime/reload"
	"github.com/musterhq/muster/runtime/serve"
	"github.com/musterhq/muster/runtime/serve/servetest"
	"github.com/musterhq/muster/runtime/serve/view"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// gated is an adapter that knows of pods that are not there.
type gated struct{}

func (gated) Extra(id string) []view.Reason {
	if id != "late" {
		return nil
	}
	return []view.Reason{{Code: "pods-missing", Text: "1 of 2 pods is not there yet"}}
}

// serveBusy answers for a busy cluster as a loopback server does.
func serveBusy(t *testing.T, o view.Options) (*servetest.Cluster, http.Handler) {
	t.Helper()
	c := servetest.Busy(t, o)
	return c, serve.Handler(serve.Config{Source: c.Source, Clock: c.Clock})
}

func get(t *testing.T, h http.Handler, path string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "http://localhost"+path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// envelope is an answer as clients read it.
type envelope struct {
	At         time.Time       `json:"at"`
	Generation uint64          `json:"generation"`
	Total      int             `json:"total"`
	Items      json.RawMessage `json:"items"`
	Item       json.RawMessage `json:"item"`
	Error      *serve.Error    `json:"error"`
}

func ask(t *testing.T, h http.Handler, path string) (e envelope) {
	t.Helper()
	w := get(t, h, path)
	if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil {
		t.Fatalf("%s: %d, %q: %v", path, w.Code, w.Body, err)
	}
	return e
}

func items[T any](t *testing.T, e envelope) (out []T) {
	t.Helper()
	if err := json.Unmarshal(e.Items, &out); err != nil {
		t.Fatalf("%s: %v", e.Items, err)
	}
	return out
}

func TestWhatIsWrongWithARequestIsSaidWithACodeAndAHint(t *testing.T) {
	_, h := serveBusy(t, view.Options{})
	for _, c := range []struct {
		path, code string
		status     int
	}{
		{"/api/v1/jobs?stat=pending", "unknown-parameter", 400},
		{"/api/v1/jobs?state=asleep", "bad-parameter", 400},
		{"/api/v1/jobs?limit=0", "bad-parameter", 400},
		{"/api/v1/jobs?limit=50001", "bad-parameter", 400},
		{"/api/v1/jobs?offset=-1", "bad-parameter", 400},
		{"/api/v1/jobs?limit=1&limit=2", "bad-parameter", 400},
		{"/api/v1/jobs?queue=%zz", "bad-parameter", 400},
		{"/api/v1/nodes?free=many", "bad-parameter", 400},
		{"/api/v1/evictions?since=yesterday", "bad-parameter", 400},
		{"/api/v1/usage?since=-2h", "bad-parameter", 400},
		{"/api/v1/gpus?idle=long", "bad-parameter", 400},
		{"/api/v1/gpus?idle=-5m", "bad-parameter", 400},
		{"/api/v1/gpus?unhealthy=perhaps", "bad-parameter", 400},
		{"/api/v1/gpus?unrequested=2", "bad-parameter", 400},
		{"/api/v1/probes?state=asleep", "bad-parameter", 400},
		{"/api/v1/gpus/none", "unknown-gpu", 404},
		{"/api/v1/gpus/", "not-found", 404},
		{"/api/v1/pool?x=1", "unknown-parameter", 400},
		{"/api/v1/jobs/none", "unknown-job", 404},
		{"/api/v1/queues/root.none", "unknown-queue", 404},
		{"/api/v1/nodes/none", "unknown-node", 404},
		{"/api/v1/explain/job/team/none", "unknown-job", 404},
		{"/api/v1/explain/queue/none", "unknown-queue", 404},
		{"/api/v1/explain/node/none", "unknown-node", 404},
		{"/api/v2/jobs", "not-found", 404},
		{"/metrics", "not-found", 404},
		{"/debug/pprof/", "not-found", 404},
	} {
		w := get(t, h, c.path)
		var e envelope
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Error == nil {
			t.Errorf("%s: %d %q", c.path, w.Code, w.Body)
			continue
		}
		if w.Code != c.status || e.Error.Code != c.code || e.Error.Message == "" || e.Error.Hint == "" {
			t.Errorf("%s: %d %+v, not %d %s", c.path, w.Code, e.Error, c.status, c.code)
		}
	}
}

func TestNothingCanBeChanged(t *testing.T) {
	_, h := serveBusy(t, view.Options{})
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, "http://localhost/api/v1/jobs/train", nil))
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %d", method, w.Code)
		}
	}
}

func TestAProcessThatStandsByOrStartsSaysSo(t *testing.T) {
	standby := view.NewSource(deaf{}, nil, view.Options{Leader: func() view.Leadership { return view.Leadership{Holder: "pod-a"} }})
	starting := view.NewSource(deaf{}, nil, view.Options{Wait: 1})
	for code, s := range map[string]*view.Source{"standby": standby, "not-ready": starting} {
		for _, path := range []string{"/pool", "/queues", "/queues/x", "/jobs", "/jobs/x", "/nodes", "/nodes/x", "/explain/job/x", "/explain/queue/x", "/explain/node/x", "/policies", "/gpus", "/gpus/x", "/probes"} {
			w := get(t, serve.Handler(serve.Config{Source: s}), "/api/v1"+path)
			if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), `"code":"`+code+`"`) {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
		}
	}
}

// deaf is a loop that never answers.
type deaf struct{}

func (deaf) Visit(func(*world.World)) {}

func TestTheIndexListsEveryPath(t *testing.T) {
	probes := &servetest.Probes{}
	c, h := serveBusy(t, probes.Into(view.Options{Extra: gated{}}))
	probes.Report(c, func(string, int32) servetest.Doing { return servetest.Doing{} })
	type entry struct{ Path string }
	replace := strings.NewReplacer("explain/job/{id...}", "explain/job/late", "explain/queue/{path...}", "explain/queue/root", "explain/node/{name...}", "explain/node/a-1",
		"queues/{path...}", "queues/batch", "jobs/{id...}", "jobs/late", "nodes/{name...}", "nodes/a-1",
		"gpus/{uuid}", "gpus/GPU-a-1-0")
	for _, e := range items[entry](t, ask(t, h, "/api/v1")) {
		if w := get(t, h, replace.Replace(e.Path)); w.Code != http.StatusOK || w.Header().Get("ETag") == "" || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: %d %s", e.Path, w.Code, w.Body)
		}
	}
}

func TestJobsAreFilteredAndCutToPages(t *testing.T) {
	_, h := serveBusy(t, view.Options{})
	for _, c := range []struct {
		query string
		total int
	}{
		{"", 20},
		{"?queue=root.batch", 17},
		{"?queue=research", 3}, // without the root's name
		{"?queue=root.bat", 0},
		{"?state=running", 11},
		{"?state=pending&queue=root.research", 2},
		{"?state=waiting", 9},
		{"?reason=gang-exceeds-max", 1},
		{"?user=ann", 20},
		{"?user=bob", 0},
	} {
		if e := ask(t, h, "/api/v1/jobs"+c.query); e.Total != c.total {
			t.Errorf("%s: %d jobs, not %d", c.query, e.Total, c.total)
		}
	}
	seen := map[string]bool{}
	for _, page := range []string{"?limit=8", "?limit=8&offset=8", "?limit=8&offset=16", "?limit=8&offset=99"} {
		for _, j := range items[view.Job](t, ask(t, h, "/api/v1/jobs"+page)) {
			if seen[j.ID] {
				t.Errorf("%s is on two pages", j.ID)
			}
			seen[j.ID] = true
		}
	}
	if len(seen) != 20 {
		t.Errorf("%d jobs on all pages", len(seen))
	}
}

// nowhere is an adapter that knows of a job that no queue takes.
type nowhere struct{}

func (nowhere) Extra(id string) []view.Reason {
	if id != "lost" {
		return nil
	}
	return []view.Reason{{Code: "acl-denied", Text: "eve may not submit"}}
}

func TestAJobThatNoQueueTakesIsListedAfterTheOthers(t *testing.T) {
	_, h := serveBusy(t, view.Options{Extra: nowhere{}, Outside: func() []string { return []string{"lost", "train"} }})
	for query, want := range map[string]int{"": 21, "?state=outside": 1, "?reason=acl-denied": 1, "?state=waiting": 9, "?queue=root": 20, "?user=ann": 20} {
		if e := ask(t, h, "/api/v1/jobs"+query); e.Total != want {
			t.Errorf("%s: %d jobs, not %d", query, e.Total, want)
		}
	}
	all := items[view.Job](t, ask(t, h, "/api/v1/jobs"))
	if last := all[len(all)-1]; last.ID != "lost" || last.State != view.Outside {
		t.Errorf("%+v", last)
	}
	var got struct {
		State string
		Tasks []view.Task
		Extra []view.Reason
	}
	if err := json.Unmarshal(ask(t, h, "/api/v1/jobs/lost").Item, &got); err != nil || got.State != "outside" || got.Tasks == nil || len(got.Extra) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAJobComesWithItsTasksAndWhatTheAdapterKnows(t *testing.T) {
	_, h := serveBusy(t, view.Options{Extra: gated{}})
	var got struct {
		ID    string
		State string
		Tasks []view.Task
		Extra []view.Reason
	}
	if err := json.Unmarshal(ask(t, h, "/api/v1/jobs/train").Item, &got); err != nil || got.State != "running" || len(got.Tasks) != 3 || got.Tasks[0].Node == "" {
		t.Errorf("%+v, %v", got, err)
	}
	if err := json.Unmarshal(ask(t, h, "/api/v1/jobs/late").Item, &got); err != nil || len(got.Extra) != 1 || got.Extra[0].Code != "pods-missing" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestWhoHasTheItemsIsNotSentThemAgainUntilTheyChange(t *testing.T) {
	c, h := serveBusy(t, view.Options{})
	first := get(t, h, "/api/v1/queues")
	tag := first.Header().Get("ETag")
	if again := get(t, h, "/api/v1/queues", "If-None-Match", tag); again.Code != http.StatusNotModified || again.Body.Len() != 0 {
		t.Errorf("again: %d, %d bytes", again.Code, again.Body.Len())
	}
	c.Post(servetest.Job("more", "root.batch", "", 1, 1))
	if after := get(t, h, "/api/v1/queues", "If-None-Match", tag); after.Code != http.StatusOK || after.Header().Get("ETag") == tag {
		t.Errorf("after a change: %d", after.Code)
	}
}

func TestAnswersAreCompressedForThoseWhoTakeIt(t *testing.T) {
	_, h := serveBusy(t, view.Options{})
	plain, zipped := get(t, h, "/api/v1/nodes/a-1"), get(t, h, "/api/v1/nodes/a-1", "Accept-Encoding", "gzip")
	if zipped.Header().Get("Content-Encoding") != "gzip" || plain.Header().Get("Content-Encoding") != "" {
		t.Fatal("only the second was to be compressed")
	}
	z, err := gzip.NewReader(zipped.Body)
	if err != nil {
		t.Fatal(err)
	}
	var e envelope
	text, err := io.ReadAll(z)
	if err != nil || json.Unmarshal(text, &e) != nil || len(e.Item) == 0 {
		t.Errorf("%q, %v", text, err)
	}
	again := get(t, h, "/api/v1/nodes/a-1", "Accept-Encoding", "gzip", "If-None-Match", plain.Header().Get("ETag"))
	if again.Code != http.StatusNotModified || again.Body.Len() != 0 || again.Header().Get("Content-Encoding") != "" {
		t.Errorf("304 with %d bytes", again.Body.Len())
	}
}

func TestEvictionsAreFoundByEitherJobAndByTime(t *testing.T) {
	_, h := serveBusy(t, view.Options{})
	all := items[view.Eviction](t, ask(t, h, "/api/v1/evictions"))
	if len(all) != 6 || all[0].Number != 6 {
		t.Fatalf("%d evictions", len(all))
	}
	for query, want := range map[string]int{
		"?job=train": 6, "?job=" + all[0].Job: 1, "?queue=root.research": 0, "?since=1h": 6, "?since=0s": 6,
		"?since=2027-01-15T08:10:01Z": 0, "?since=1800000000": 6, "?limit=2": 2,
	} {
		if got := items[view.Eviction](t, ask(t, h, "/api/v1/evictions"+query)); len(got) != want {
			t.Errorf("%s: %d evictions, not %d", query, len(got), want)
		}
	}
}

func TestPoliciesJoinWhatQueuesNameWhatIsLoadedAndWhatWasAsked(t *testing.T) {
	c, _ := serveBusy(t, view.Options{})
	loaded := reload.Status{Policies: []reload.PolicyStatus{{Name: "priority-fifo", Active: &reload.Version{Name: "mine", Version: "2.0", Digest: "sha256:1", State: reload.Active}}}}
	uses := append(c.Recorder.Policies(), view.PolicyUse{Kind: "job_order", Name: "mine", Version: "2.0", Digest: "sha256:1", Calls: 7})
	got := map[string]serve.Policy{}
	for _, p := range serve.Policies(c.Snapshot(), loaded, uses) {
		got[p.Name] = p
	}
	mine, fair := got["priority-fifo"], got["guaranteed-fair"]
	if mine.BuiltIn || mine.Active == nil || len(mine.Uses) != 1 || mine.Uses[0].Calls != 7 || mine.Queues[0] != "root.research.llm" {
		t.Errorf("%+v", mine)
	}
	if !fair.BuiltIn || fair.Kinds[0] != "queue_shares" || len(fair.Uses) != 1 || got["fifo"].Kinds[0] != "job_order" {
		t.Errorf("%+v", fair)
	}
}

func TestUseOverTimeIsAnsweredForOneResource(t *testing.T) {
	c, h := serveBusy(t, view.Options{})
	for i := range int64(3) {
		c.Clock.Advance(c.Clock.Now() + i*5*spec.Second)
		c.Sample()
	}
	var u view.Usage
	if err := json.Unmarshal(ask(t, h, "/api/v1/usage?since=1h&resource=nvidia.com/gpu:H100").Item, &u); err != nil {
		t.Fatal(err)
	}
	if len(u.Times) != 3 || u.Capacity[2] != 24_000 || len(u.Queues) != 2 || u.Queues[1].Queue != "root.research.llm" || u.Queues[1].Used[2] != 12_000 {
		t.Errorf("%+v", u)
	}
}
