package wasm

import (
	"math"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/policies"
)

// schemaOf reads the settings that the metadata declare.
func schemaOf(md *hostabi.Metadata) []policies.Param {
	var out []policies.Param
	for _, p := range md.Params {
		out = append(out, policies.Param{
			Name: p.Name, Type: policies.ParamType(p.Type), Default: p.Default, Min: p.Min, Max: p.Max, Doc: p.Doc,
		})
	}
	return out
}

// slots are the settings as a frame sends them.
type slots struct {
	words []uint64 // by place in the metadata; those of texts are filled for each batch
	texts []textSlot
}

// textSlot is a setting that is a text: its slot is its index in the dictionary.
type textSlot struct {
	slot int
	text string
}

func slotsOf(params []policies.Param) slots {
	s := slots{words: make([]uint64, len(params))}
	for i, p := range params {
		switch v := p.Value.(type) {
		case int64:
			s.words[i] = uint64(v)
		case float64:
			s.words[i] = math.Float64bits(v)
		case bool:
			if v {
				s.words[i] = 1
			}
		case string:
			s.texts = append(s.texts, textSlot{i, v})
		}
	}
	return s
}

// Configure puts settings in force from the next call on; those not given get their
// defaults. The error is a *policies.ParamError, and then nothing has changed.
func (m *Module) Configure(params map[string]any) error {
	bound, err := policies.Bind(m.schema, params)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.configure(bound)
	return nil
}

// configure sets what Bind has checked; m.mu is held, or m is not known to others.
func (m *Module) configure(bound []policies.Param) {
	s := slotsOf(bound)
	for _, f := range m.frames {
		if f != nil {
			f.settings = slots{append([]uint64(nil), s.words...), s.texts}
			f.Params = f.settings.words
		}
	}
	m.forget()
	info := *m.info.Load()
	info.Params = bound
	m.info.Store(&info)
}
