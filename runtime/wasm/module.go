package wasm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/policies"
)

// Defaults and bounds of Options.
const (
	DefaultMemoryPages uint32        = 1024 // 64 MiB
	DefaultTimeout     time.Duration = time.Second
	NoTimeout          time.Duration = -1
)

// Options are the limits of one module.
type Options struct {
	// Name is what the policy is called if its metadata do not say; the name of
	// the file, as a rule.
	Name string
	// MemoryPages is the most memory that an instance may have, in pages of
	// 64 KiB; 0 is DefaultMemoryPages.
	MemoryPages uint32
	// Timeout bounds one call in wall-clock time; 0 is DefaultTimeout, NoTimeout
	// is for modules that you trust. With a limit, guest code checks for it at
	// every loop, which makes it 3 to 5 times slower, and each call starts one
	// goroutine and allocates some 300 bytes; a tree of calls without a loop can run
	// past it. Without a limit, a call that does not end stops the process. All this
	// goes away with deterministic fuel, which bounds a call at almost no cost.
	Timeout time.Duration
	// Log gets the lines that the policy logs, at most 16 lines and 4 KiB a call;
	// nil drops them. It must not call the Module.
	Log func(level Level, line string)
}

// Module is a policy in Wasm. It is safe for concurrent use; calls run one after
// the other.
type Module struct {
	opt    Options
	info   policies.Info
	init   bool
	rt     *Runtime
	code   *code
	frames [4]*frame // by hostabi.Kind, nil for kinds that it does not decide

	mu       sync.Mutex
	in       *instance // nil after it was discarded
	closed   bool
	restarts int
	counters [maxCounters]int64
}

var _ policies.Policy = (*Module)(nil)

// Load checks, compiles and starts a module in a Runtime that the process shares.
// See Runtime.Load.
func Load(ctx context.Context, bin []byte, opt Options) (*Module, error) {
	r, err := shared()
	if err != nil {
		return nil, err
	}
	return r.Load(ctx, bin, opt)
}

// Load checks, compiles and starts a module. A module that is refused gives a
// *LoadError; no code of it has run then, unless the code is InitFailed.
func (r *Runtime) Load(ctx context.Context, bin []byte, opt Options) (*Module, error) {
	opt = opt.withDefaults()
	in, err := inspect(opt.Name, bin, opt.MemoryPages)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(bin)
	m := &Module{opt: opt, rt: r, init: in.init}
	m.info = policies.Info{
		Name: in.meta.Name, Version: in.meta.Version, Kinds: in.kinds, Reasons: in.meta.Reasons,
		Digest: "sha256:" + hex.EncodeToString(sum[:]),
	}
	if m.info.Name == "" {
		m.info.Name = opt.Name
	}
	for k, bit := range kindBits {
		if in.kinds&bit != 0 {
			m.frames[k] = newFrame(k, &in.meta)
		}
	}
	key := codeKey{engineKey{opt.MemoryPages, opt.Timeout > 0}, m.info.Digest}
	if m.code, err = r.acquire(ctx, key, bin); err != nil {
		return nil, &LoadError{opt.Name, Invalid, "module", firstLine(err), "the host takes core Wasm 2.0 without threads, tail calls and exceptions"}
	}
	if m.in, err = newInstance(ctx, m.code, m); err != nil {
		r.release(m.code)
		return nil, &LoadError{opt.Name, InitFailed, "export " + hostabi.ExportInit, err.Error(), "the policy fails before its first batch"}
	}
	return m, nil
}

func (o Options) withDefaults() Options {
	if o.Name == "" {
		o.Name = "unnamed"
	}
	if o.MemoryPages == 0 {
		o.MemoryPages = DefaultMemoryPages
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	return o
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// Info names the policy.
func (m *Module) Info() policies.Info { return m.info }

// Restarts is how often an instance was discarded and started again.
func (m *Module) Restarts() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.restarts
}

// Counter is the sum of what the policy has added to one of its counters, 0 to 63; 0
// for any other.
func (m *Module) Counter(id int) int64 {
	if id < 0 || id >= maxCounters {
		return 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.counters[id]
}

// ScoreJobs fills Keys, as int64 in ascending order whatever the policy's own form.
// On an error, which is a *policies.CallError, the outputs mean nothing.
func (m *Module) ScoreJobs(ctx context.Context, b *policies.JobBatch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.frames[hostabi.KindJobOrder]
	if f == nil {
		return policies.ErrNotImplemented
	}
	f.jobs(b)
	mem, err := m.call(ctx, f)
	if err == nil {
		err = f.jobKeys(mem, b)
	}
	return m.failed(policies.JobOrder, err)
}

// Entitle fills Entitled and Rank. Errors are as in ScoreJobs.
func (m *Module) Entitle(ctx context.Context, b *policies.QueueBatch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.frames[hostabi.KindQueueShares]
	if f == nil {
		return policies.ErrNotImplemented
	}
	f.queues(b)
	mem, err := m.call(ctx, f)
	if err == nil {
		err = f.shares(mem, b)
	}
	return m.failed(policies.QueueShares, err)
}

// CostVictims fills Cost and Veto. Errors are as in ScoreJobs.
func (m *Module) CostVictims(ctx context.Context, b *policies.VictimBatch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.frames[hostabi.KindVictimCosts]
	if f == nil {
		return policies.ErrNotImplemented
	}
	f.victims(b)
	mem, err := m.call(ctx, f)
	if err == nil {
		err = f.costs(mem, b)
	}
	return m.failed(policies.VictimCosts, err)
}

// call sends one frame, through a fresh instance if the last one was discarded.
func (m *Module) call(ctx context.Context, f *frame) ([]byte, error) {
	if m.closed {
		return nil, errors.New("the module is closed")
	}
	size, err := f.Layout()
	if err != nil {
		return nil, err
	}
	if m.in == nil {
		if m.in, err = newInstance(ctx, m.code, m); err != nil {
			return nil, err
		}
		m.restarts++
	}
	return m.in.call(ctx, &f.Frame, size)
}

// failed wraps the error of a call, and discards the instance after any code of the
// host: what state it left behind is not known.
func (m *Module) failed(k policies.Kind, err error) error {
	if err == nil {
		return nil
	}
	ce := &policies.CallError{Policy: m.name(), Kind: k, Code: policies.CodeUnknownErr, Detail: err.Error()}
	var f *fault
	if errors.As(err, &f) {
		ce.Code, ce.Detail = f.code, f.detail
		if m.in != nil && !ofGuest(f.code) {
			m.in.close()
			m.in = nil
		}
	}
	return ce
}

// ofGuest says whether a code is one that the guest returned by itself.
func ofGuest(c policies.Code) bool {
	return c == policies.CodeAbstain || c == policies.CodeBadInput || c == policies.CodeBadParams || c == policies.CodeInternal
}

func (m *Module) name() string {
	if m.info.Version == "" {
		return m.info.Name
	}
	return fmt.Sprintf("%s %s", m.info.Name, m.info.Version)
}

// Close frees the instance. Its compiled code is kept for a while, for a rollback.
func (m *Module) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	if m.in != nil {
		m.in.close()
		m.in = nil
	}
	m.rt.release(m.code)
	return nil
}
