package serve

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/musterhq/muster/runtime/serve/view"
)

// gpus lists GPUs with what they really do.
func (a *api) gpus(r *http.Request, q query) (Answer, error) {
	keep, err := gpuFilter(q)
	if err != nil {
		return Answer{}, err
	}
	s, err := a.source.Snapshot(r.Context())
	if err != nil {
		return Answer{}, err
	}
	return list(s, filtered(s.GPUs(), keep), q), nil
}

// gpuFilter says which GPUs are asked for.
func gpuFilter(q query) (func(*view.GPU) bool, error) {
	idle, err := lasting(q, "idle")
	if err != nil {
		return nil, err
	}
	unhealthy, err := truth(q, "unhealthy")
	if err != nil {
		return nil, err
	}
	unasked, err := truth(q, "unrequested")
	if err != nil {
		return nil, err
	}
	product := strings.ToLower(q.Get("product"))
	return func(g *view.GPU) bool {
		is := strings.Contains(strings.ToLower(g.Product), product) || strings.Contains(strings.ToLower(g.Type), product)
		used := q.Get("queue") == "" || slices.ContainsFunc(g.Uses, func(u view.GPUUse) bool { return u.Queue != "" && under(u.Queue, q.Get("queue")) })
		long := idle == 0 || g.Idle != nil && time.Duration(*g.Idle)*time.Millisecond >= idle
		return is && used && long && (q.Get("node") == "" || g.Node == q.Get("node")) && (!unhealthy || g.Unhealthy()) && (!unasked || g.Unasked)
	}, nil
}

// lasting reads how long something lasts; 0 if it is not asked for.
func lasting(q query, name string) (time.Duration, error) {
	text := q.Get(name)
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, bad(name, text, "write how long, as in 30m or 2h")
	}
	return d, nil
}

// truth reads a yes or no; no if it is not asked for.
func truth(q query, name string) (bool, error) {
	text := q.Get(name)
	if text == "" {
		return false, nil
	}
	yes, err := strconv.ParseBool(text)
	if err != nil {
		return false, bad(name, text, "write true or false")
	}
	return yes, nil
}

func (a *api) gpu(r *http.Request, _ query) (Answer, error) {
	s, err := a.source.Snapshot(r.Context())
	if err != nil {
		return Answer{}, err
	}
	all, uuid := s.GPUs(), r.PathValue("uuid")
	i := slices.IndexFunc(all, func(g view.GPU) bool { return g.UUID == uuid })
	if i < 0 || uuid == "" {
		return Answer{}, missing("gpu", uuid, "GET "+Prefix+"/gpus lists the GPUs; one is known once its node's probe reports it")
	}
	return one(s, all[i])
}

var probeStates = []string{view.ProbeConnected, view.ProbeStale, view.ProbeNone}

// probes lists how the probes of nodes are doing.
func (a *api) probes(r *http.Request, q query) (Answer, error) {
	state := q.Get("state")
	if state != "" && !slices.Contains(probeStates, state) {
		return Answer{}, bad("state", state, "states are "+strings.Join(probeStates, ", "))
	}
	s, err := a.source.Snapshot(r.Context())
	if err != nil {
		return Answer{}, err
	}
	return list(s, filtered(s.Probes(), func(p *view.Probe) bool { return state == "" || p.State == state }), q), nil
}
