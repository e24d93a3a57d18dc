package suite

import (
	"github.com/musterhq/muster/conformance/suite/gen"
	"github.com/musterhq/muster/conformance/suite/mbatch"
)

// encode writes a batch as the subject is sent it; nil for no batch.
func (r *run) encode(b gen.Batch) []byte {
	if b.Kind() == 0 {
		return nil
	}
	buf, err := mbatch.Encode(b)
	if err != nil {
		return nil // too large to be a file: the failure's own text remains
	}
	return buf
}
