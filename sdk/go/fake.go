package muster

import "math"

// What a host would put into a batch, for tests without Wasm. Package mustertest has
// what is built on it.

// fakeTexts is a dictionary that grows.
type fakeTexts struct{ texts []string }

func (f *fakeTexts) count() uint32 { return uint32(len(f.texts)) }

func (f *fakeTexts) text(id uint32) string {
	if id >= f.count() {
		return ""
	}
	return f.texts[id]
}

// AddText puts a text into the batch's dictionary, if it is not there, and returns its
// id. It is for tests: columns of ids, such as UserName, are filled with it.
func (c *Call) AddText(text string) uint32 {
	if id := c.FindText(text); id != NoText {
		return id
	}
	f, ok := c.texts.(*fakeTexts)
	if !ok {
		f = &fakeTexts{}
		c.texts = f
	}
	f.texts = append(f.texts, text)
	return uint32(len(f.texts) - 1)
}

// SetParams gives the batch its settings, in the order of policy.yaml. It is for tests.
// A value is an int or int64 (also for durations, in ns), a float64, a bool or a string;
// anything else panics.
func (c *Call) SetParams(values ...any) {
	c.params = make([]uint64, len(values))
	for i, value := range values {
		switch v := value.(type) {
		case int:
			c.params[i] = uint64(v)
		case int64:
			c.params[i] = uint64(v)
		case float64:
			c.params[i] = math.Float64bits(v)
		case bool:
			if v {
				c.params[i] = 1
			}
		case string:
			c.params[i] = uint64(c.AddText(v))
		default:
			panic("muster: a param is an int, int64, float64, bool or string")
		}
	}
}

// SetLabel gives each job its value of label i, "" for none. It is for tests.
func (b *Jobs) SetLabel(i int, values ...string) {
	b.labels[i] = make([]uint32, b.N)
	fill(b.labels[i], NoText)
	for row, v := range values {
		if v != "" {
			b.labels[i][row] = b.AddText(v)
		}
	}
}
