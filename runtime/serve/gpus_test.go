package serve_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/musterhq/muster/runtime/serve"
	"github.com/musterhq/muster/runtime/serve/servetest"
	"github.com/musterhq/muster/runtime/serve/view"
)

func TestGPUsAreFoundByWhatIsWrongWithThem(t *testing.T) {
	c, _ := servetest.Measured(t)
	h := serve.Handler(serve.Config{Source: c.Source, Clock: c.Clock})
	idle := 0
	for _, task := range c.Snapshot().Tasks("train") {
		if task.Index != 1 && task.Node != "h-3" {
			idle += 4
		}
	}
	for query, want := range map[string]int{
		"": 32, "?node=a-1": 8, "?product=h100": 24, "?product=A100&node=h-1": 0, "?unhealthy=true": 1, "?unrequested=true": 1, "?unrequested=false": 32,
		"?idle=30m": idle, "?idle=61m": 0, "?idle=30m&queue=research": idle, "?idle=30m&queue=root.batch": 0, "?limit=5": 5,
	} {
		e := ask(t, h, "/api/v1/gpus"+query)
		if got := items[view.GPU](t, e); len(got) != want {
			t.Errorf("%s: %d GPUs, not %d", query, len(got), want)
		}
	}
	broken := items[view.GPU](t, ask(t, h, "/api/v1/gpus?unhealthy=true"))[0]
	if broken.Node != "a-1" || *broken.Index != 3 || broken.Health != "failed" || broken.HealthReason != "Xid79" {
		t.Errorf("%+v", broken)
	}
	stray := items[view.GPU](t, ask(t, h, "/api/v1/gpus?unrequested=true"))[0]
	if u := stray.Uses[len(stray.Uses)-1]; u.Owner != "host:/system.slice/miner.service" || u.Job != "" || u.Pod != "" || u.Busy != nil || u.Coverage != view.Unknown {
		t.Errorf("%+v", u)
	}
}

func TestTroubleIsCountedAsItIsListed(t *testing.T) {
	c, _ := servetest.Measured(t)
	if got := c.Snapshot().Trouble(); got.Unrequested != 1 || len(got.Unhealthy) != 1 || got.Unhealthy["failed"] != 1 {
		t.Errorf("%+v", got)
	}
}

// A reader that takes what is missing for 0 would call a GPU idle of which nobody knows.
func TestWhatIsNotKnownOfAGPUIsAbsent(t *testing.T) {
	c, _ := servetest.Measured(t)
	h := serve.Handler(serve.Config{Source: c.Source, Clock: c.Clock})
	for _, raw := range items[json.RawMessage](t, ask(t, h, "/api/v1/gpus?node=h-3")) {
		for _, field := range []string{"busy_permille", "memory_used", "idle_ms", "temperature_c"} {
			if strings.Contains(string(raw), `"`+field+`"`) {
				t.Errorf("%s of a GPU that is not heard of: %s", field, raw)
			}
		}
		if !strings.Contains(string(raw), `"probe":"stale"`) || !strings.Contains(string(raw), `"coverage":"unknown"`) {
			t.Errorf("%s", raw)
		}
	}
}

func TestProbesAreListedByState(t *testing.T) {
	c, probes := servetest.Measured(t)
	h := serve.Handler(serve.Config{Source: c.Source, Clock: c.Clock})
	kept := probes.Usage()[1:]
	probes.Set(kept...)
	got := map[string]int{}
	for _, p := range items[view.Probe](t, ask(t, h, "/api/v1/probes")) {
		got[p.State]++
		if p.State == view.ProbeNone && (p.Devices != 8 || p.GPUs != 0 || !p.Reported.IsZero()) {
			t.Errorf("%+v", p)
		}
	}
	if got["connected"] != 2 || got["stale"] != 1 || got["none"] != 1 {
		t.Errorf("%v", got)
	}
	stale := items[view.Probe](t, ask(t, h, "/api/v1/probes?state=stale"))
	if len(stale) != 1 || stale[0].Node != "h-3" || stale[0].GPUs != 8 || stale[0].Reported.IsZero() {
		t.Errorf("%+v", stale)
	}
	if text := string(ask(t, h, "/api/v1/probes?state=connected").Items); !strings.Contains(text, `"reason":"NoBTF"`) {
		t.Errorf("%s", text)
	}
}
