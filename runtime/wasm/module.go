package wasm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/hostabi/wasmbin"
	"github.com/musterhq/muster/policies"
)

// Module is a policy in Wasm. It is safe for concurrent use; calls run one after
// the other.
type Module struct {
	opt    Options
	meta   hostabi.Metadata
	schema []policies.Param // as declared, without values
	info   atomic.Pointer[policies.Info]
	init   bool
	rt     *Runtime
	code   *code
	stats  meterings

	mu       sync.Mutex
	frames   [4]*frame // by hostabi.Kind, nil for kinds that it does not decide
	kept     *memory   // nil where every row is asked again in every call
	in       *instance // nil after it was discarded
	closed   bool
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
	m := &Module{opt: opt, meta: in.meta, rt: r, init: in.init, schema: schemaOf(&in.meta)}
	bound, err := policies.Bind(m.schema, opt.Params)
	if err != nil {
		return nil, badParams(opt.Name, err)
	}
	for k, bit := range kindBits {
		if in.kinds&bit != 0 {
			m.frames[k] = newFrame(k, &in.meta)
		}
	}
	m.kept = newMemory(&in.meta, m.frames[hostabi.KindJobOrder])
	m.info.Store(infoOf(in, opt.Name, digest(bin)))
	m.configure(bound)
	key := codeKey{engineKey{opt.MemoryPages, opt.Interpreter}, m.Info().Digest}
	if m.code, err = r.acquire(ctx, key, bin); err != nil {
		return nil, notCompiled(opt.Name, err)
	}
	if m.in, err = newInstance(ctx, m.code, m); err != nil {
		r.release(m.code)
		return nil, &LoadError{opt.Name, InitFailed, "export " + hostabi.ExportInit, err.Error(), "the policy fails before its first batch", err}
	}
	return m, nil
}

// notCompiled is the refusal by the rewriter, which knows the byte, or by the engine.
func notCompiled(name string, err error) error {
	le := &LoadError{name, Invalid, "module", firstLine(err), "the host takes core Wasm 2.0 without threads, tail calls and exceptions", err}
	var we *wasmbin.Error
	if errors.As(err, &we) {
		le.Where, le.Problem = fmt.Sprintf("byte %d", we.Offset), we.Problem
	}
	return le
}

func badParams(name string, err error) error {
	le := &LoadError{name, BadParams, "params", err.Error(), "", err}
	var pe *policies.ParamError
	if errors.As(err, &pe) {
		le.Where, le.Problem, le.Hint = "params."+pe.Param, pe.Problem, pe.Hint
	}
	return le
}

func infoOf(in *inspection, name, digest string) *policies.Info {
	info := &policies.Info{
		Name: in.meta.Name, Version: in.meta.Version, Kinds: in.kinds, Reasons: in.meta.Reasons,
		Digest: digest, Laws: in.meta.Laws,
	}
	if info.Name == "" {
		info.Name = name
	}
	names := [2][]string{in.meta.Columns.Required, in.meta.Columns.Optional}
	if len(names[0])+len(names[1]) > 0 {
		info.Columns = []string{}
	}
	for _, ns := range names {
		for _, n := range ns {
			if c, ok := hostabi.ColumnByName(n); ok && !c.Output {
				info.Columns = append(info.Columns, n)
			}
		}
	}
	for _, c := range in.meta.LabelColumns() {
		key, _ := c.LabelKey()
		info.Labels = append(info.Labels, key)
	}
	return info
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// Info names the policy, with the settings in force. It waits for no call.
func (m *Module) Info() policies.Info { return *m.info.Load() }

// Metadata is what the module says of itself.
func (m *Module) Metadata() hostabi.Metadata { return m.meta }

// ScoreJobs fills Keys, as int64 in ascending order whatever the policy's own form. A
// policy that claims row independence is asked only for the rows that have changed since
// the last batch of the queue, and gives their Order too; the answer is bit for bit that
// of asking for all.
// On an error, which is a *policies.CallError, the outputs mean nothing.
func (m *Module) ScoreJobs(ctx context.Context, b *policies.JobBatch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.frames[hostabi.KindJobOrder]
	if f == nil {
		return policies.ErrNotImplemented
	}
	m.stats.called(b.N)
	f.jobs(b)
	if b.Order != nil {
		b.Order = b.Order[:0]
	}
	var err error
	if a := m.kept.of(b); a != nil {
		err = m.scoreChanged(ctx, f, b, a)
	} else {
		err = m.scoreAll(ctx, f, b)
	}
	return m.failed(policies.JobOrder, err)
}

// scoreAll asks for every row of the batch that f is filled with.
func (m *Module) scoreAll(ctx context.Context, f *frame, b *policies.JobBatch) error {
	mem, err := m.call(ctx, f)
	if err != nil {
		return err
	}
	return f.jobKeys(mem, b)
}

// Entitle fills Entitled and Rank. Errors are as in ScoreJobs.
func (m *Module) Entitle(ctx context.Context, b *policies.QueueBatch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.frames[hostabi.KindQueueShares]
	if f == nil {
		return policies.ErrNotImplemented
	}
	m.stats.called(b.N)
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
	m.stats.called(b.N)
	f.victims(b)
	mem, err := m.call(ctx, f)
	if err == nil {
		err = f.costs(mem, b)
	}
	return m.failed(policies.VictimCosts, err)
}

var errClosed = errors.New("the module is closed")

// call lays a filled frame out, sends it, and returns the batch after the answer.
func (m *Module) call(ctx context.Context, f *frame) ([]byte, error) {
	if m.closed {
		return nil, errClosed
	}
	size, err := f.Layout()
	if err != nil {
		return nil, err
	}
	if err := m.running(ctx); err != nil {
		return nil, err
	}
	in := m.in
	mem, err := in.call(ctx, &f.Frame, size, m.opt.Fuel.of(f.Rows, f.Resources))
	m.stats.sent(f.Rows, in.spent, in.size())
	return mem, err
}

// running starts an instance where there is none.
func (m *Module) running(ctx context.Context) (err error) {
	if m.in == nil {
		if m.in, err = newInstance(ctx, m.code, m); err == nil {
			m.stats.restarted()
		}
	}
	return err
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
		if !ofGuest(f.code) {
			m.discard()
		}
	}
	m.forget()
	m.stats.failed(ce.Code)
	return ce
}

// ofGuest says whether a code is one that the guest returned by itself.
func ofGuest(c policies.Code) bool {
	return c == policies.CodeAbstain || c == policies.CodeBadInput || c == policies.CodeBadParams || c == policies.CodeInternal
}

func (m *Module) name() string {
	info := m.info.Load()
	if info.Version == "" {
		return info.Name
	}
	return fmt.Sprintf("%s %s", info.Name, info.Version)
}

// discard ends the instance; the next call starts another.
func (m *Module) discard() {
	if m.in != nil {
		m.in.close()
		m.in = nil
	}
}

// forget drops the answers that were kept.
func (m *Module) forget() {
	if m.kept != nil {
		m.kept.clear()
	}
}

// Restart discards the instance and whatever it holds in memory. The next call starts
// another, as after a fault.
func (m *Module) Restart() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.discard()
	m.forget()
}

// Close frees the instance. Its compiled code is kept for a while, for a rollback.
func (m *Module) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	m.discard()
	m.forget()
	m.rt.release(m.code)
	return nil
}
