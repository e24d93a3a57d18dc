package config

import "strings"

// shieldRune stands for a colon inside a plain scalar while the YAML library
// reads the text: as long as a colon, and in nobody's configuration.
const shieldRune = '\uf03a'

// shield hides the colons that belong to a name. YAML takes "{a:b: 1}" for the
// key "a:b", since a colon separates only before a blank or a bracket; the
// library splits at the first colon, and would read the GPU type out of
// "{nvidia.com/gpu:H100: 8}". A colon behind a quote does separate ({"a":1}), so
// it stays. Where the text is not a plain scalar (quotes, comments, block
// scalars) hiding does no harm, as every text is restored when it is read.
func shield(source string) (string, bool) {
	if strings.ContainsRune(source, shieldRune) {
		return source, false
	}
	var b strings.Builder
	last := 0
	for i := 1; i+1 < len(source); i++ {
		if source[i] == ':' && !strings.ContainsRune(" \t\r\n,[]{}\"'", rune(source[i-1])) &&
			!strings.ContainsRune(" \t\r\n,[]{}", rune(source[i+1])) {
			b.WriteString(source[last:i])
			b.WriteRune(shieldRune)
			last = i + 1
		}
	}
	b.WriteString(source[last:])
	return b.String(), true
}

// restore undoes shield in a text that came from the YAML library.
func (r *report) restore(s string) string {
	if !r.shielded || !strings.ContainsRune(s, shieldRune) {
		return s
	}
	return strings.ReplaceAll(s, string(shieldRune), ":")
}
