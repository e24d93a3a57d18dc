package cli

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/builtin/keysort"
	"github.com/musterhq/muster/cmd/muster/internal/policyset"
	"github.com/musterhq/muster/conformance/suite/gen"
	"github.com/musterhq/muster/conformance/suite/mbatch"
	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/wasm"
)

// sampleSeed makes the same sample batches on every machine.
const sampleSeed = 1

// sample is a believable batch of n rows, with room for the answer.
func sample(in policies.Info, k policies.Kind, n int) gen.Batch {
	b := gen.Of(k, gen.Rand(sampleSeed, "sample", n), n, in)
	switch {
	case b.Jobs != nil:
		for i := range b.Jobs.Keys {
			b.Jobs.Keys[i] = make([]int64, b.Jobs.N)
		}
		b.Jobs.Reason = make([]uint32, b.Jobs.N)
	case b.Queues != nil:
		b.Queues.Entitled, b.Queues.Rank = make([]int64, b.Queues.N*b.Queues.R), make([]int64, b.Queues.N)
	default:
		b.Victims.Cost, b.Victims.Veto = make([]int64, b.Victims.N), make([]uint8, b.Victims.N)
		b.Victims.Reason = make([]uint32, b.Victims.N)
	}
	return b
}

// ask sends a batch to a policy.
func ask(ctx context.Context, p policies.Policy, b gen.Batch) error {
	switch {
	case b.Jobs != nil:
		return p.ScoreJobs(ctx, b.Jobs)
	case b.Queues != nil:
		return p.Entitle(ctx, b.Queues)
	default:
		return p.CostVictims(ctx, b.Victims)
	}
}

// kindsOf takes a set of kinds apart.
func kindsOf(k policies.Kind) (out []policies.Kind) {
	for _, one := range []policies.Kind{policies.JobOrder, policies.QueueShares, policies.VictimCosts} {
		if k&one != 0 {
			out = append(out, one)
		}
	}
	return out
}

// ranBatch is what came of one batch.
type ranBatch struct {
	Policy    string     `json:"policy"`
	Digest    string     `json:"digest"`
	Batch     string     `json:"batch"`
	Kind      string     `json:"kind"`
	Rows      int        `json:"rows"`
	Status    uint32     `json:"status"`
	Code      string     `json:"code,omitempty"` // why the answer is not used
	Detail    string     `json:"detail,omitempty"`
	Fuel      int64      `json:"fuel"`
	Pages     uint32     `json:"pages"`
	MicroSecs float64    `json:"microseconds"`
	Order     []int      `json:"order,omitempty"` // rows, the first to run first
	Columns   []string   `json:"columns"`
	Table     [][]string `json:"table"` // a line for each row
}

func (a *app) policyRun() *cobra.Command {
	var format string
	var params []string
	var rows, show int
	var save string
	c := a.command("run X.wasm [F.mbatch]", "send a policy one batch and show its answer", `
F.mbatch is exactly the bytes of a batch: what a conformance report leaves of a
broken law. The same bytes always give the same answer and the same fuel. Without a
file, a sample batch of --rows rows is made for each kind of the policy.`, `
  muster policy run my-order.wasm --rows 5 --param aging=0.5
  muster policy run my-order.wasm order-permutation.mbatch`,
		"0 the answer can be used, 1 it can not, 2 it was called wrongly", cobra.RangeArgs(1, 2),
		func(ctx context.Context, args []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			m, err := loadFor(ctx, args[0], params)
			if err != nil {
				return err
			}
			return errors.Join(a.runBatches(ctx, m, args[1:], rows, show, save, format), m.Close())
		})
	formatFlag(c, &format)
	c.Flags().StringArrayVar(&params, "param", nil, "setting of the policy, `NAME=VALUE`; may be repeated")
	c.Flags().IntVar(&rows, "rows", 5, "rows of a sample batch")
	c.Flags().IntVar(&show, "show", 20, "rows to print as text")
	c.Flags().StringVar(&save, "save", "", "write the sample batch to this `FILE.mbatch`")
	return c
}

// loadFor loads a module with settings from a command line.
func loadFor(ctx context.Context, path string, params []string) (*wasm.Module, error) {
	bin, err := readModule(path)
	if err != nil {
		return nil, err
	}
	given, err := readParams(params)
	if err != nil {
		return nil, err
	}
	m, err := wasm.Load(ctx, bin, wasm.Options{Name: moduleName(path), Params: given})
	var pe *policies.ParamError
	if errors.As(err, &pe) {
		return nil, misused(pe.Hint, "%s: %w", path, pe)
	}
	if err != nil {
		return nil, &policyset.FileError{Path: path, Err: err}
	}
	return m, nil
}

// readParams reads NAME=VALUE, the value being a number, true, false, or a text.
func readParams(list []string) (map[string]any, error) {
	out := map[string]any{}
	for _, p := range list {
		name, value, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			return nil, misused("as in --param aging=0.5", "%q is not NAME=VALUE", p)
		}
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			out[name] = n
		} else if f, err := strconv.ParseFloat(value, 64); err == nil {
			out[name] = f
		} else if b, err := strconv.ParseBool(value); err == nil {
			out[name] = b
		} else {
			out[name] = value
		}
	}
	return out, nil
}

func (a *app) runBatches(ctx context.Context, m *wasm.Module, files []string, rows, show int, save, format string) error {
	var sent []batchFile
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return failed("name a .mbatch file", "cannot read %w", pathFirst(err))
		}
		sent = append(sent, batchFile{f, b})
	}
	if len(files) == 0 {
		if rows < 0 || rows > 1_000_000 {
			return misused("as in --rows 100", "--rows %d: want 0 to 1000000", rows)
		}
		for _, k := range kindsOf(m.Info().Kinds) {
			b, err := encode(m, sample(m.Info(), k, rows))
			if err != nil {
				return err
			}
			sent = append(sent, batchFile{fmt.Sprintf("sample %s", k), b})
		}
		if save != "" {
			if err := writeFile(save, sent[0].bytes); err != nil {
				return err
			}
		}
	}
	var out []ranBatch
	for _, f := range sent {
		r, err := runBatch(ctx, m, f)
		if err != nil {
			return err
		}
		out = append(out, r)
	}
	if err := a.print(format, out, func() error { return a.ranText(out, show) }); err != nil {
		return err
	}
	if i := slices.IndexFunc(out, func(r ranBatch) bool { return r.Code != "" && r.Code != string(policies.CodeAbstain) }); i >= 0 {
		return failed("a scheduler would decide by its built-in policy and count a fault", "the answer to %s can not be used: %s", out[i].Batch, out[i].Code)
	}
	return nil
}

type batchFile struct {
	name  string
	bytes []byte
}

func encode(m *wasm.Module, b gen.Batch) ([]byte, error) {
	switch {
	case b.Jobs != nil:
		return m.EncodeJobs(b.Jobs)
	case b.Queues != nil:
		return m.EncodeQueues(b.Queues)
	default:
		return m.EncodeVictims(b.Victims)
	}
}

func runBatch(ctx context.Context, m *wasm.Module, f batchFile) (ranBatch, error) {
	in, err := hostabi.Decode(f.bytes)
	if err != nil {
		return ranBatch{}, failed("a .mbatch file holds exactly the bytes of one batch (hostabi/abi.md)", "%s: %w", f.name, err)
	}
	i := m.Info()
	r := ranBatch{Policy: identity(i.Name, i.Version), Digest: i.Digest, Batch: f.name, Kind: in.Kind.String(), Rows: in.Rows}
	began := time.Now()
	got, err := m.CallRaw(ctx, f.bytes)
	r.MicroSecs = float64(time.Since(began).Nanoseconds()) / 1000
	r.Status, r.Fuel, r.Pages = got.Status, got.Fuel, got.Pages
	if errors.Is(err, policies.ErrNotImplemented) {
		return r, failed("`muster policy inspect` says what it decides", "%s does not decide %s", r.Policy, in.Kind)
	}
	var ce *policies.CallError
	if errors.As(err, &ce) {
		r.Code, r.Detail = string(ce.Code), ce.Detail
	} else if err != nil {
		return r, err
	}
	var outputs map[hostabi.ColumnID][]byte
	if len(got.Batch) > 0 {
		outputs = mbatch.Outputs(f.bytes, got.Batch)
	}
	r.fill(in, outputs)
	return r, nil
}

// fill makes the table: inputs as they were sent, outputs as they came back.
func (r *ranBatch) fill(in *hostabi.Batch, outputs map[hostabi.ColumnID][]byte) {
	r.Table = make([][]string, in.Rows)
	for _, c := range in.Columns {
		if c.Flags&(hostabi.FlagResource|hostabi.FlagBatch|hostabi.FlagAbsent) != 0 || in.Rows == 0 {
			continue
		}
		data, isOutput := c.Data, c.Flags&hostabi.FlagOutput != 0
		if isOutput {
			if data = outputs[c.ID]; data == nil {
				continue
			}
		}
		r.Columns = append(r.Columns, columnName(c.ID, isOutput))
		for i := range in.Rows {
			cells := make([]string, max(c.Width, 1))
			for k := range cells {
				cells[k] = cell(in, c, data, i*len(cells)+k)
			}
			r.Table[i] = append(r.Table[i], strings.Join(cells, ","))
		}
	}
	if in.Kind == hostabi.KindJobOrder && r.Code == "" {
		r.Order = orderOf(in.Rows, outputs)
	}
}

func columnName(id hostabi.ColumnID, isOutput bool) string {
	name := fmt.Sprintf("%#x", uint32(id))
	if c, ok := hostabi.ColumnByID(id); ok {
		_, name, _ = strings.Cut(c.Name, ".")
	}
	if isOutput {
		return "→" + name
	}
	return name
}

func cell(in *hostabi.Batch, c hostabi.BatchColumn, data []byte, i int) string {
	if !c.Known(i) {
		return "?"
	}
	size := c.Type.Size()
	if (i+1)*size > len(data) {
		return "-"
	}
	b := data[i*size:]
	le := binary.LittleEndian
	switch c.Type {
	case hostabi.I64:
		return strconv.FormatInt(int64(le.Uint64(b)), 10)
	case hostabi.F64:
		return strconv.FormatFloat(math.Float64frombits(le.Uint64(b)), 'g', -1, 64)
	case hostabi.I32:
		return strconv.FormatInt(int64(int32(le.Uint32(b))), 10)
	case hostabi.Dict32:
		if s, ok := in.Text(c, i); ok {
			return s
		}
		return "-"
	case hostabi.U32:
		return strconv.FormatUint(uint64(le.Uint32(b)), 10)
	default:
		return strconv.Itoa(int(b[0]))
	}
}

// orderOf sorts the rows as the host would.
func orderOf(n int, outputs map[hostabi.ColumnID][]byte) []int {
	var head [2]uint32
	hostabi.Read(head[:1], outputs[hostabi.JobKeyCount])
	hostabi.Read(head[1:], outputs[hostabi.JobKeyFormat])
	ids := []hostabi.ColumnID{hostabi.JobKey0, hostabi.JobKey1, hostabi.JobKey2, hostabi.JobKey3}
	var keys [][]int64
	for k := range min(int(head[0]), len(ids)) {
		key := make([]int64, n)
		hostabi.Read(key, outputs[ids[k]])
		for i, v := range key {
			if head[1]&hostabi.KeyFloat(k) != 0 {
				v = int64(math.Float64bits(math.Float64frombits(uint64(v)) + 0)) // -0 + 0 is +0
				v ^= int64(uint64(v>>63) >> 1)
			}
			if head[1]&hostabi.KeyDescending(k) != 0 {
				v = ^v
			}
			key[i] = v
		}
		keys = append(keys, key)
	}
	rows := make([]int32, n)
	for i := range rows {
		rows[i] = int32(i)
	}
	keysort.Sort(rows, keys, &keysort.Scratch{})
	out := make([]int, n)
	for i, r := range rows {
		out[i] = int(r)
	}
	return out
}

func (a *app) ranText(list []ranBatch, show int) error {
	for i, r := range list {
		if i > 0 {
			fmt.Fprintln(a.out)
		}
		fmt.Fprintf(a.out, "%s, %s of %s: status %d", r.Batch, r.Kind, plural(r.Rows, "row"), r.Status)
		if r.Code != "" {
			fmt.Fprintf(a.out, " (%s: %s)", r.Code, r.Detail)
		}
		fmt.Fprintf(a.out, ", %d units of fuel, %.0f µs\n", r.Fuel, r.MicroSecs)
		if err := a.ranTable(r, show); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) ranTable(r ranBatch, show int) error {
	if len(r.Columns) == 0 || r.Rows == 0 {
		return nil
	}
	at := make([]int, r.Rows) // place of each row in the order
	for place, row := range r.Order {
		at[row] = place + 1
	}
	w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', tabwriter.AlignRight)
	header := append([]string{"row"}, r.Columns...)
	if r.Order != nil {
		header = append(header, "place")
	}
	fmt.Fprintln(w, strings.Join(header, "\t")+"\t")
	for i, line := range r.Table[:min(show, r.Rows)] {
		line = append([]string{strconv.Itoa(i)}, line...)
		if r.Order != nil {
			line = append(line, strconv.Itoa(at[i]))
		}
		fmt.Fprintln(w, strings.Join(line, "\t")+"\t")
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if more := r.Rows - show; more > 0 {
		fmt.Fprintf(a.out, "and %s more (--show)\n", plural(more, "row"))
	}
	return nil
}
