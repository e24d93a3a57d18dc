package usage

import "sync"

// maxInterned bounds what nodes can make the interner remember.
const maxInterned = 1 << 14

// interner keeps one copy of texts that many nodes say: products, namespaces, reasons.
type interner struct {
	mu   sync.Mutex
	text map[string]string
}

func (in *interner) one(s string) string {
	if s == "" {
		return ""
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if kept, ok := in.text[s]; ok {
		return kept
	}
	if len(in.text) < maxInterned {
		in.text[s] = s
	}
	return s
}
