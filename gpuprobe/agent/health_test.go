package agent

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/gpuprobe/nvml"
	"github.com/musterhq/muster/gpuprobe/wire"
)

func xid(n uint64) nvml.Event { return nvml.Event{Kind: nvml.EventXID, Data: n} }

// knows is a status of a driver that knows recovery actions, silent of one that does not.
func knows(action uint32) *nvml.Status { return &nvml.Status{Recovery: &action} }

func silent() *nvml.Status { return &nvml.Status{} }

// play tells a machine one thing after another: an event, an error or a status.
func play(h *health, story ...any) (last condition) {
	now := time.Unix(1000, 0)
	for _, step := range story {
		switch s := step.(type) {
		case nvml.Event:
			if h.event(s) {
				continue // its poll is the next step
			}
		case error:
			h.reading(s, nil)
		case *nvml.Status:
			h.reading(nil, s)
		case func():
			s()
		}
		now = now.Add(time.Second)
		h.verdict(now)
	}
	return h.current
}

func TestRulesOfHealth(t *testing.T) {
	slow := &nvml.Status{Recovery: to(uint32(0)), Throttle: to(uint64(0x40))}
	capped := &nvml.Status{Recovery: to(uint32(0)), Throttle: to(uint64(0x4))} // power cap: usual
	for name, c := range map[string]struct {
		story  []any
		state  wire.Health
		reason string
	}{
		"nothing asked yet":                         {nil, wire.Health_HEALTH_UNKNOWN, ""},
		"it answers":                                {[]any{silent()}, wire.Health_HEALTHY, ""},
		"an application's error":                    {[]any{silent(), xid(31)}, wire.Health_HEALTHY, ""},
		"an XID, and the driver has a remedy":       {[]any{silent(), xid(48), knows(4)}, wire.Health_FAILED, "RecoveryDrainAndReset"},
		"an XID, and the driver needs nothing":      {[]any{silent(), xid(48), knows(0)}, wire.Health_HEALTHY, ""},
		"an XID, and the driver can't tell":         {[]any{silent(), xid(79), silent()}, wire.Health_FAILED, "Xid79"},
		"an XID, and the driver does not answer":    {[]any{silent(), xid(79), nvml.ErrUnresponsive}, wire.Health_FAILED, "Xid79"},
		"a row is to be remapped":                   {[]any{silent(), xid(63), silent()}, wire.Health_DEGRADED, "Xid63"},
		"two XIDs, the worse one holds":             {[]any{silent(), xid(63), xid(79), silent()}, wire.Health_FAILED, "Xid79"},
		"an uncorrected ECC error":                  {[]any{nvml.Event{Kind: nvml.EventDoubleBitECC}, silent()}, wire.Health_FAILED, "EccDoubleBit"},
		"a corrected one":                           {[]any{silent(), nvml.Event{Kind: nvml.EventSingleBitECC}}, wire.Health_HEALTHY, ""},
		"the GPU says that it can't work":           {[]any{nvml.Event{Kind: nvml.EventUnavailable}, silent()}, wire.Health_FAILED, "GpuUnavailable"},
		"an action that nobody knows yet":           {[]any{knows(9)}, wire.Health_FAILED, "RecoveryAction9"},
		"recovery, said once":                       {[]any{knows(1), knows(0)}, wire.Health_FAILED, "RecoveryReset"},
		"recovery, said twice":                      {[]any{knows(1), knows(0), knows(0)}, wire.Health_HEALTHY, ""},
		"recovery, interrupted":                     {[]any{knows(1), knows(0), nvml.ErrUnresponsive, knows(0)}, wire.Health_FAILED, "RecoveryReset"},
		"lost":                                      {[]any{silent(), nvml.ErrGPULost}, wire.Health_FAILED, "GpuLost"},
		"lost, and it answers without a word":       {[]any{nvml.ErrGPULost, silent(), silent(), silent()}, wire.Health_FAILED, "GpuLost"},
		"needs a reset":                             {[]any{nvml.ErrResetRequired}, wire.Health_FAILED, "ResetRequired"},
		"does not answer":                           {[]any{silent(), nvml.ErrUnresponsive}, wire.Health_UNRESPONSIVE, "DriverUnresponsive"},
		"answers again":                             {[]any{nvml.ErrUnresponsive, silent()}, wire.Health_HEALTHY, ""},
		"failed, and does not answer":               {[]any{knows(1), nvml.ErrUnresponsive}, wire.Health_FAILED, "RecoveryReset"},
		"an error that means nothing":               {[]any{silent(), nvml.ErrUnknown}, wire.Health_HEALTH_UNKNOWN, "NvmlError"},
		"no spare rows, and nothing to recover":     {[]any{&nvml.Status{Recovery: to(uint32(0)), RemapFailed: to(true)}}, wire.Health_FAILED, "RowRemapFailed"},
		"rows to be remapped":                       {[]any{&nvml.Status{RemapPending: to(true)}}, wire.Health_DEGRADED, "RowRemapPending"},
		"that holds while its status is not asked":  {[]any{&nvml.Status{RemapPending: to(true)}, (*nvml.Status)(nil)}, wire.Health_DEGRADED, "RowRemapPending"},
		"hot for a moment":                          {[]any{silent(), slow, slow, capped}, wire.Health_HEALTHY, ""},
		"hot":                                       {[]any{silent(), slow, slow, slow}, wire.Health_DEGRADED, "HardwareSlowdown"},
		"hot, and cool for a moment":                {[]any{slow, slow, slow, capped, capped, slow}, wire.Health_DEGRADED, "HardwareSlowdown"},
		"cool again":                                {[]any{slow, slow, slow, capped, capped, capped}, wire.Health_HEALTHY, ""},
		"capped by power is how GPUs work":          {[]any{capped, capped, capped, capped}, wire.Health_HEALTHY, ""},
		"an XID in a GPU that is already lost":      {[]any{nvml.ErrGPULost, xid(63), nvml.ErrGPULost}, wire.Health_FAILED, "GpuLost"},
		"a degrading XID where the driver can tell": {[]any{silent(), xid(94), knows(0)}, wire.Health_HEALTHY, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := play(&health{}, c.story...)
			if got.state != c.state || got.reason != c.reason {
				t.Fatalf("got %v %s", got.state, got.reason)
			}
		})
	}
}

func TestARestartOfTheDriverForgives(t *testing.T) {
	h := &health{}
	got := play(h, xid(79), silent(), func() { h.restarted(true) }, silent())
	if got != healthy || h.xids[0] != (XIDCount{79, 1}) {
		t.Fatalf("got %+v %+v; XIDs stay counted", got, h.xids)
	}
}

func TestFailingIsToldOnce(t *testing.T) {
	h := &health{}
	h.reading(nil, silent())
	h.verdict(time.Unix(1, 0))
	h.reading(nvml.ErrGPULost, nil)
	if !h.verdict(time.Unix(2, 0)) || h.verdict(time.Unix(3, 0)) {
		t.Fatal("one edge")
	}
	if !h.since.Equal(time.Unix(2, 0)) {
		t.Fatalf("since %v", h.since)
	}
}

func TestXIDsAreBounded(t *testing.T) {
	h := &health{}
	for i := range uint64(1000) {
		h.event(xid(i))
	}
	if len(h.xids) != maxXIDs || *h.lastXID != 999 {
		t.Fatalf("%d kinds", len(h.xids))
	}
}

// Whatever happens: a GPU that failed is not healthy before the driver was restarted, or
// answered twice in a row that there is nothing to recover.
func TestFailedIsNotForgotten(t *testing.T) {
	errs := []error{nvml.ErrGPULost, nvml.ErrResetRequired, nvml.ErrUnresponsive, nvml.ErrUnknown}
	rapid.Check(t, func(t *rapid.T) {
		h, clean, failed := &health{}, 0, false
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			restarted := false
			switch rapid.IntRange(0, 4).Draw(t, "kind") {
			case 0:
				if h.event(xid(rapid.SampledFrom([]uint64{31, 63, 79}).Draw(t, "xid"))) {
					clean = 0
				}
			case 1:
				err := rapid.SampledFrom(errs).Draw(t, "error")
				h.reading(err, nil)
				clean = 0
			case 2:
				h.reading(nil, silent())
			case 3:
				action := rapid.SampledFrom([]uint32{0, 0, 1}).Draw(t, "action")
				h.reading(nil, knows(action))
				clean++
				if action != 0 {
					clean = 0
				}
			case 4:
				h.restarted(true)
				restarted = true
			}
			h.verdict(time.Unix(int64(i), 0))
			if failed && h.current.state != wire.Health_FAILED && clean < 2 && !restarted {
				t.Fatalf("step %d: forgiven: %+v", i, h.current)
			}
			failed = h.current.state == wire.Health_FAILED
			if (h.current.reason == "") != (h.current.state == wire.Health_HEALTHY || h.current == condition{}) {
				t.Fatalf("a reason if and only if something is wrong: %+v", h.current)
			}
		}
	})
}

func TestAnErrorOfAFieldIsNoneOfTheDevice(t *testing.T) {
	for err, want := range map[error]bool{
		nvml.ErrNotSupported: false, nvml.ErrNoSymbol: false, nvml.ErrNotFound: false, nvml.ErrTimeout: false, nvml.ErrNoPermission: false,
		nvml.ErrGPULost: true, nvml.ErrResetRequired: true, nvml.ErrUnresponsive: true, nvml.ErrUninitialized: true,
		nvml.ErrDriverNotLoaded: true, nvml.ErrLibraryVersion: true, nvml.ErrUnknown: false, errors.New("?"): false,
	} {
		if fatal(err) != want {
			t.Errorf("%v: %v", err, !want)
		}
	}
}
