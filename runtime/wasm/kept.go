package wasm

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"github.com/musterhq/muster/builtin/keysort"
	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/policies"
)

// Bounds of what is kept.
const (
	maxKept  = 64 << 20 // bytes of a Module, over all queues
	minKept  = 32       // rows below which keeping costs more than asking
	maxPause = 31       // calls of a queue that are not kept after useless ones

	// All is copied anew where more runs than this, and one for each 64 rows, make the
	// walk slow, or where more than a few jobs have joined in between others.
	maxRuns, maxBetween = 64, 8
)

// memory keeps the last answers of a job order that claims row independence: for each
// queue the columns that it reads and its keys. Only rows whose columns have changed
// are asked again. All of it is dropped on new settings, after a fault and with the
// instance.
type memory struct {
	queues map[string]*answers
	bytes  int
	clock  uint64
	row    []int // parts of the frame that are inputs of a row

	dirty []uint64 // bit i: row i must be asked
	ask   []int32  // those rows
	runs  []run    // rows known from the last batch
	part  policies.JobBatch
	room  [][]byte // columns of the rows that are asked

	places []place // of the rows that are asked, in their order
	order  []int32 // the slots by keys; empty if that is not known
	rowOf  []int32 // by slot: the row of the batch, -1 for none that is known
	sort   keysort.Scratch
}

// place is where in the answers a row of the batch goes, whose answer has that number.
type place struct {
	slot, row, answer int
	how               foundAs
}

// foundAs says whether a slot is the row's own, is to be made at the end, or in front of
// the one of that number.
type foundAs uint8

const (
	known foundAs = iota
	atEnd
	between
)

// answers are the last inputs and keys of one queue, in the order of (submit, id), and
// those of jobs that have left since.
type answers struct {
	n       int // rows; -1 if nothing is kept
	serial  []uint64
	submit  []int64
	columns [][]byte // by memory.row; nil if it was absent
	keys    [policies.MaxKeys][]int64
	form    keyForm
	reasons []uint32
	order   []int32 // the rows by keys, without those that left; empty if not known
	bytes   int
	lastUse uint64
	pause   int // calls left that are not kept, because so much changed
	useless int // batches in a row of which most rows had changed
}

// run is n rows of a batch, from row at, that are rows old and on of the last one.
type run struct{ at, old, n int }

// newMemory returns nil for a policy whose answers can't be kept: it claims no row
// independence, or reads columns whose elements mean something only within a batch.
func newMemory(md *hostabi.Metadata, f *frame) *memory {
	if f == nil || !slices.Contains(md.Laws, policies.LawRowIndependent) {
		return nil
	}
	k := &memory{queues: map[string]*answers{}}
	for i := range f.Parts {
		c := f.Parts[i].Column
		switch {
		case c.Output:
		case c.Type == hostabi.Dict32, c.ID == hostabi.JobJob, c.ID == hostabi.JobUser, c.Shape != hostabi.ShapeRow:
			return nil
		default:
			k.row = append(k.row, i)
		}
	}
	k.room = make([][]byte, len(k.row))
	return k
}

// of returns what is kept of the queue of a batch, nil if this batch is not kept.
func (k *memory) of(b *policies.JobBatch) *answers {
	if k == nil || b.N < minKept || len(b.Serial) != b.N || len(b.Submit) != b.N || len(b.Reason) != 0 && len(b.Reason) != b.N {
		return nil
	}
	a := k.queues[b.Queue]
	if a == nil {
		a = &answers{n: -1}
		k.queues[b.Queue] = a
	}
	k.clock++
	a.lastUse = k.clock
	if a.pause > 0 {
		a.pause--
		return nil
	}
	return a
}

func (k *memory) clear() {
	clear(k.queues)
	k.bytes = 0
}

// scoreChanged asks for the rows that are not known from the last batch, and takes the
// keys of the others from there.
func (m *Module) scoreChanged(ctx context.Context, f *frame, b *policies.JobBatch, a *answers) error {
	k := m.kept
	if m.closed {
		return errClosed
	}
	if !k.compare(f, b, a) {
		return m.scoreAndKeep(ctx, f, b, a)
	}
	if len(k.ask) > 0 {
		same, err := m.askRows(ctx, f, a)
		if err != nil {
			return err
		}
		if !same {
			f.jobs(b)
			return m.scoreAndKeep(ctx, f, b, a)
		}
		f.jobs(b)
	}
	k.merge(b, a)
	k.arrange(b, a)
	k.update(f, b, a)
	return nil
}

func (m *Module) scoreAndKeep(ctx context.Context, f *frame, b *policies.JobBatch, a *answers) error {
	mem, err := m.call(ctx, f)
	if err == nil {
		err = f.jobKeys(mem, b)
	}
	if err != nil {
		return err
	}
	if a.pause == 0 {
		a.form, _ = f.keyForm(mem) // jobKeys has checked it
		m.kept.sortAll(b)
		m.kept.keep(f, b, a)
	}
	return nil
}

// askRows sends the rows of memory.ask as a batch of their own. It says whether the
// answer has keys of the same form as those that are kept.
func (m *Module) askRows(ctx context.Context, f *frame, a *answers) (same bool, err error) {
	k := m.kept
	for c, i := range k.row {
		p := &f.Parts[i]
		if p.Data != nil {
			k.room[c] = gather(k.room[c], p.Data, k.ask, p.Column.Type.Size())
			p.Data = k.room[c]
			f.validity(i)
		}
	}
	f.Rows = len(k.ask)
	mem, err := m.call(ctx, f)
	if err != nil {
		return false, err
	}
	form, err := f.keyForm(mem)
	if err != nil || form != a.form {
		return false, err
	}
	k.part.N = len(k.ask)
	k.part.Reason = sized(k.part.Reason, k.part.N)
	return true, f.jobKeys(mem, &k.part)
}

// gather copies the elements of some rows.
func gather(dst, src []byte, rows []int32, size int) []byte {
	dst = sized(dst, size*len(rows))
	if size == 8 {
		for i, r := range rows {
			*(*[8]byte)(dst[8*i:]) = *(*[8]byte)(src[8*int(r):])
		}
		return dst
	}
	for i, r := range rows {
		copy(dst[size*i:size*(i+1)], src[size*int(r):])
	}
	return dst
}

// merge writes the keys of all rows: those kept, and those just asked.
func (k *memory) merge(b *policies.JobBatch, a *answers) {
	b.NKeys = int(a.form.count)
	for c := range b.NKeys {
		b.Keys[c] = sized(b.Keys[c], b.N)
		spread(b.Keys[c], a.keys[c], k.runs, k.part.Keys[c], k.ask)
	}
	if len(a.reasons) > 0 {
		spread(b.Reason, a.reasons, k.runs, k.part.Reason, k.ask)
	} else {
		clear(b.Reason)
	}
}

func spread[T any](dst, kept []T, runs []run, fresh []T, rows []int32) {
	for _, r := range runs {
		copy(dst[r.at:r.at+r.n], kept[r.old:])
	}
	for i, r := range rows {
		dst[r] = fresh[i]
	}
}

// update brings what is kept up to the batch whose keys were just merged.
func (k *memory) update(f *frame, b *policies.JobBatch, a *answers) {
	tooOld := len(k.runs) > maxRuns+b.N/64 || a.n > b.N+b.N/4 || k.bytes > maxKept
	unordered := b.Order != nil && len(k.order) == 0
	if tooOld || unordered || !k.patch(f, b, a) {
		k.keep(f, b, a)
	}
}

// locate finds where in the answers the rows that are asked belong.
func (k *memory) locate(a *answers) {
	next, end := 0, a.n
	k.places = k.places[:0]
	for i, row := range k.ask {
		r := int(row)
		for next < len(k.runs) && r >= k.runs[next].at+k.runs[next].n {
			next++
		}
		p := place{slot: end, row: r, answer: i, how: atEnd}
		switch {
		case next == len(k.runs):
			end++
		case r >= k.runs[next].at:
			p.slot, p.how = k.runs[next].old+r-k.runs[next].at, known
		default:
			p.slot, p.how = k.runs[next].old, between
		}
		k.places = append(k.places, p)
	}
}

// patch writes the rows that were asked to their places: new jobs at the end, or in
// between others, if they are few. Jobs that left stay where they are; the next walk
// steps over them. It says whether all rows have found a place.
func (k *memory) patch(f *frame, b *policies.JobBatch, a *answers) bool {
	inserts := 0
	for _, p := range k.places {
		if p.how == between {
			inserts++
		}
	}
	if inserts > maxBetween || inserts > 0 && b.Order != nil {
		return false // slots that move would spoil the order
	}
	for _, p := range k.places {
		switch p.how {
		case atEnd:
			k.add(f, b, a, p.slot, p.row)
			k.set(f, a, p.slot, p.row, p.answer)
		case known:
			k.set(f, a, p.slot, p.row, p.answer)
		}
	}
	for _, p := range slices.Backward(k.places) { // so that places in front stay right
		if p.how == between {
			k.add(f, b, a, p.slot, p.row)
			k.set(f, a, p.slot, p.row, p.answer)
		}
	}
	a.order = append(a.order[:0], k.order...)
	return true
}

// add makes room for a job.
func (k *memory) add(f *frame, b *policies.JobBatch, a *answers, slot, row int) {
	a.n++
	a.serial, a.submit = slices.Insert(a.serial, slot, b.Serial[row]), slices.Insert(a.submit, slot, b.Submit[row])
	size := 16
	for c, p := range k.row {
		if f.Parts[p].Data != nil {
			width := f.Parts[p].Column.Type.Size()
			var element [8]byte
			a.columns[c] = slices.Insert(a.columns[c], width*slot, element[:width]...)
			size += width
		}
	}
	for c := range a.form.count {
		a.keys[c] = slices.Insert(a.keys[c], slot, 0)
		size += 8
	}
	if f.reasons > 0 {
		a.reasons = slices.Insert(a.reasons, slot, 0)
		size += 4
	}
	a.bytes += size
	k.bytes += size
}

// set writes what a row of the batch holds, and the answer number i to it.
func (k *memory) set(f *frame, a *answers, slot, row, i int) {
	for c, p := range k.row {
		if d := f.Parts[p].Data; d != nil {
			size := f.Parts[p].Column.Type.Size()
			copy(a.columns[c][size*slot:size*(slot+1)], d[size*row:])
		}
	}
	for c := range a.form.count {
		a.keys[c][slot] = k.part.Keys[c][i]
	}
	if f.reasons > 0 {
		a.reasons[slot] = k.part.Reason[i]
	}
}

// keep copies a batch and its answer.
func (k *memory) keep(f *frame, b *policies.JobBatch, a *answers) {
	k.bytes -= a.bytes
	a.bytes, a.n = 0, -1
	size := b.N * (16 + 8*int(a.form.count) + 8)
	for _, p := range k.row {
		size += len(f.Parts[p].Data)
	}
	if len(b.Reason) == 0 && f.reasons > 0 || !k.fits(size, a) {
		return
	}
	a.n, a.bytes = b.N, size
	k.bytes += size
	a.serial, a.submit = append(a.serial[:0], b.Serial...), append(a.submit[:0], b.Submit...)
	if a.reasons = a.reasons[:0]; f.reasons > 0 {
		a.reasons = append(a.reasons, b.Reason...)
	}
	a.columns = sized(a.columns, len(k.row))
	for c, p := range k.row {
		if d := f.Parts[p].Data; d == nil {
			a.columns[c] = nil
		} else {
			a.columns[c] = append(a.columns[c][:0], d...)
		}
	}
	for c := range a.form.count {
		a.keys[c] = append(a.keys[c][:0], b.Keys[c]...)
	}
	a.order = append(a.order[:0], b.Order...)
}

// fits makes room by dropping the queues that were not asked for longest.
func (k *memory) fits(size int, but *answers) bool {
	if size > maxKept {
		return false
	}
	for k.bytes+size > maxKept {
		oldest, at := "", uint64(math.MaxUint64)
		for q, a := range k.queues {
			if a != but && a.lastUse < at {
				oldest, at = q, a.lastUse
			}
		}
		if at == math.MaxUint64 {
			return false
		}
		k.bytes -= k.queues[oldest].bytes
		delete(k.queues, oldest)
	}
	return true
}

// compare finds the rows to ask, and says whether that is worth it: whether anything
// is kept, and fewer than half of the rows have changed.
func (k *memory) compare(f *frame, b *policies.JobBatch, a *answers) bool {
	if a.n < 0 || len(b.Reason) == 0 && f.reasons > 0 {
		return false
	}
	for c, p := range k.row {
		if (f.Parts[p].Data == nil) != (a.columns[c] == nil) {
			return false
		}
	}
	k.align(b, a)
	k.findDirty(f, b.N, a)
	if 2*len(k.ask) <= b.N {
		a.useless = 0
		return true
	}
	a.useless++
	if a.useless > 2 { // its columns change all the time: try again later
		a.pause = min(2*a.useless, maxPause)
		a.n = -1
	}
	return false
}

// align pairs the rows of a batch with those of the last one. Both are in the order of
// (submit, id), so jobs that joined and left show in one walk over both. A pair that
// is missed costs a question, never a wrong answer.
func (k *memory) align(b *policies.JobBatch, a *answers) {
	k.runs = k.runs[:0]
	if b.N == a.n && bytes.Equal(hostabi.Bytes(b.Serial), hostabi.Bytes(a.serial)) {
		k.runs = append(k.runs, run{0, 0, b.N})
		return
	}
	looks := 4 * (b.N + a.n) // bounds the search among equal submit times
	for i, j := 0, 0; i < b.N && j < a.n; {
		if b.Serial[i] == a.serial[j] {
			n := common(b.Serial[i:], a.serial[j:])
			k.runs = append(k.runs, run{i, j, n})
			i, j = i+n, j+n
			continue
		}
		switch {
		case b.Submit[i] < a.submit[j]:
			i++ // joined
		case b.Submit[i] > a.submit[j]:
			j++ // left
		default:
			joined, left := search(b, a, i, j, &looks)
			i, j = i+joined, j+left
		}
	}
}

// search looks among equal submit times for how many jobs joined at row i, or left at
// row j of the last batch. If it finds neither, one did both.
func search(b *policies.JobBatch, a *answers, i, j int, looks *int) (joined, left int) {
	for n := 1; *looks > 0; n++ {
		*looks--
		more, old := i+n < b.N && b.Submit[i+n] == b.Submit[i], j+n < a.n && a.submit[j+n] == a.submit[j]
		switch {
		case old && a.serial[j+n] == b.Serial[i]:
			return 0, n
		case more && b.Serial[i+n] == a.serial[j]:
			return n, 0
		case !more && !old:
			return 1, 1
		}
	}
	return 1, 1
}

// common is the length of the common start.
func common(x, y []uint64) int {
	n := min(len(x), len(y))
	i := 0
	for i+32 <= n && *(*[32]uint64)(x[i:]) == *(*[32]uint64)(y[i:]) {
		i += 32
	}
	for i < n && x[i] == y[i] {
		i++
	}
	return i
}

// findDirty marks the rows that no run covers, and those in which a column differs.
func (k *memory) findDirty(f *frame, n int, a *answers) {
	k.dirty = sized(k.dirty, (n+63)/64)
	clear(k.dirty)
	next := 0
	for _, r := range k.runs {
		k.mark(next, r.at)
		next = r.at + r.n
		for c, p := range k.row {
			size := f.Parts[p].Column.Type.Size()
			if d := f.Parts[p].Data; d != nil {
				k.differ(d[size*r.at:size*(r.at+r.n)], a.columns[c][size*r.old:size*(r.old+r.n)], r.at, size)
			}
		}
	}
	k.mark(next, n)
	k.ask = k.ask[:0]
	for w, word := range k.dirty {
		for ; word != 0; word &= word - 1 {
			k.ask = append(k.ask, int32(64*w+bits.TrailingZeros64(word)))
		}
	}
}

// mark makes the rows from and up to to dirty.
func (k *memory) mark(from, to int) {
	for i := from; i < to; i++ {
		k.dirty[i/64] |= 1 << (i % 64)
	}
}

// differ marks the rows in which two pieces of a column differ; at is their first row.
func (k *memory) differ(x, y []byte, at, size int) {
	if size != 8 {
		k.differBytes(x, y, at, size)
		return
	}
	const block = 32 // rows that are compared at once
	i := 0
	for ; i+8*block <= len(x); i += 8 * block {
		if *(*[8 * block]byte)(x[i:]) != *(*[8 * block]byte)(y[i:]) {
			k.differWords(x[i:i+8*block], y[i:i+8*block], at+i/8)
		}
	}
	k.differWords(x[i:], y[i:], at+i/8)
}

func (k *memory) differWords(x, y []byte, at int) {
	for i := 0; i+8 <= len(x) && i+8 <= len(y); i += 8 {
		if binary.LittleEndian.Uint64(x[i:]) != binary.LittleEndian.Uint64(y[i:]) {
			row := at + i/8
			k.dirty[row/64] |= 1 << (row % 64)
		}
	}
}

func (k *memory) differBytes(x, y []byte, at, size int) {
	if bytes.Equal(x, y) {
		return
	}
	for i := 0; i < len(x); i += size {
		if !bytes.Equal(x[i:i+size], y[i:i+size]) {
			row := at + i/size
			k.dirty[row/64] |= 1 << (row % 64)
		}
	}
}
