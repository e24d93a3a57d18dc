package suite

import (
	"path/filepath"
	"testing"
	"time"
)

func TestShippedPoliciesPass(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join("..", "..", "bin", "policies", "*.wasm"))
	if err != nil || len(paths) == 0 {
		t.Skip("no policies in bin/policies: run make guests")
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			began := time.Now()
			doc, err := Check(t.Context(), Subject{Wasm: path}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%v\n%s", time.Since(began), doc.Text())
		})
	}
}
