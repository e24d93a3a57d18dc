package muster

import "math"

// dictionary holds the texts of a batch by their ids.
type dictionary interface {
	text(id uint32) string
	count() uint32
}

// Params returns how many settings the batch carries: those of policy.yaml, in its order.
func (c *Call) Params() int { return len(c.params) }

func (c *Call) param(i int) uint64 {
	if i < 0 || i >= len(c.params) {
		return 0
	}
	return c.params[i]
}

// ParamInt returns setting i, which policy.yaml declares as i64. Settings that are not
// there read as 0, false and no text; the host sends all of them.
func (c *Call) ParamInt(i int) int64 { return int64(c.param(i)) }

// ParamFloat returns setting i, an f64.
func (c *Call) ParamFloat(i int) float64 { return math.Float64frombits(c.param(i)) }

// ParamBool returns setting i, a bool.
func (c *Call) ParamBool(i int) bool { return c.param(i) != 0 }

// ParamDuration returns setting i, a duration, in ns like every time of a batch.
func (c *Call) ParamDuration(i int) int64 { return int64(c.param(i)) }

// ParamID returns setting i, a string, as the id of a text: compare it with a column of
// ids, such as UserName, and no text is ever read.
func (c *Call) ParamID(i int) uint32 {
	if i < 0 || i >= len(c.params) {
		return NoText
	}
	return uint32(c.params[i])
}

// ParamText returns setting i, a string.
func (c *Call) ParamText(i int) string { return c.Text(c.ParamID(i)) }

// Text returns the text of an id, a view of the batch that is good during the call only;
// "" for NoText. Equal ids are equal texts, so compare ids.
func (c *Call) Text(id uint32) string {
	if c.texts == nil {
		return ""
	}
	return c.texts.text(id)
}

// FindText returns the id of a text, NoText if no row of the batch has it. It looks
// through all texts, so call it once a batch, not once a row.
func (c *Call) FindText(text string) uint32 {
	if c.texts == nil {
		return NoText
	}
	for id := range c.texts.count() {
		if c.texts.text(id) == text {
			return id
		}
	}
	return NoText
}

// Known says whether element i of a nullable column (Use, Idle) is known. It is false
// for a column that the host does not send.
func Known(column []int64, i int) bool { return i < len(column) && column[i] != Unset }

// firstLabel is the id of the first label column.
const firstLabel = 0x01000000

func (b *Jobs) bindLabel(id uint32, v view) {
	if i := id - firstLabel; i < MaxLabels {
		b.labels[i] = v.u32s()
	}
}

// Label returns the values of label i of policy.yaml, which counts the names that begin
// with job.label: under columns, the required ones first. An element is the id of a
// text, NoText where the job has no such label. It is nil if the host does not send it.
func (b *Jobs) Label(i int) []uint32 {
	if i < 0 || i >= MaxLabels {
		return nil
	}
	return b.labels[i]
}

// SetReason gives row i a reason, a place in the reasons of policy.yaml; without any
// there it does nothing.
func (b *Jobs) SetReason(i int, reason uint32) { set(b.Reason, i, reason) }

// SetReason gives row i a reason, a place in the reasons of policy.yaml; without any
// there it does nothing.
func (b *Victims) SetReason(i int, reason uint32) { set(b.Reason, i, reason) }

func set(column []uint32, i int, v uint32) {
	if i < len(column) {
		column[i] = v
	}
}

func fill[T any](column []T, v T) {
	for i := range column {
		column[i] = v
	}
}
