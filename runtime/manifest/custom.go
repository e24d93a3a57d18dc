package manifest

import "encoding/binary"

// setCustom replaces or appends a custom section, everything else byte for byte. The
// module has been read before, so its lengths are good.
func setCustom(bin []byte, name string, content []byte) []byte {
	out := append([]byte(nil), bin[:8]...)
	for at := 8; at < len(bin); {
		size, n := binary.Uvarint(bin[at+1:])
		end := at + 1 + n + int(size)
		body := bin[at+1+n : end]
		length, m := binary.Uvarint(body)
		if bin[at] != 0 || string(body[m:m+int(length)]) != name {
			out = append(out, bin[at:end]...)
		}
		at = end
	}
	body := append(binary.AppendUvarint(nil, uint64(len(name))), name...)
	body = append(body, content...)
	return append(binary.AppendUvarint(append(out, 0), uint64(len(body))), body...)
}
