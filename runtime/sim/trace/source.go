package trace

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// source is a file's content, unpacked. name is what problems call it.
type source struct {
	name string
	data []byte
}

// maxBytes bounds an unpacked file, so that a small hostile one cannot fill the
// memory. Public traces of a million jobs have about 100 MB.
const maxBytes = 512 << 20

// readSource reads a file, plain or gzip by its content.
func readSource(path string, ps *Problems) (source, bool) {
	src := source{name: path}
	f, err := os.Open(path)
	if err != nil {
		ps.file(path, CodeFile, plainError(err), "give the path of a trace file or folder")
		return src, false
	}
	defer func() { _ = f.Close() }() // only read
	raw, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		ps.file(path, CodeFile, plainError(err), "")
		return src, false
	}
	return unpack(path, raw, ps)
}

func unpack(path string, raw []byte, ps *Problems) (source, bool) {
	src := source{name: path, data: raw}
	if bytes.HasPrefix(raw, []byte{0x1f, 0x8b}) {
		data, err := gunzip(raw)
		if err != nil {
			line := bytes.Count(data, []byte("\n")) + 1
			ps.add(Problem{path, line, 1, CodeTruncated, "the compressed file is damaged or cut off after this line: " + err.Error(), "fetch it again"})
			return src, false
		}
		src.data = data
	}
	if len(src.data) > maxBytes {
		ps.file(path, CodeFile, fmt.Sprintf("more than %d MiB unpacked", maxBytes>>20), "split the trace")
		return src, false
	}
	return src, true
}

func gunzip(raw []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(z, maxBytes+1))
}

func plainError(err error) string {
	if os.IsNotExist(err) {
		return "no such file"
	}
	return err.Error()
}

// sibling finds the file of another name next to path, plain or packed.
func sibling(path, base string) (string, bool) {
	for _, ext := range []string{"", ".gz"} {
		p := filepath.Join(filepath.Dir(path), base+ext)
		if st, err := os.Stat(p); err == nil && !st.IsDir() {
			return p, true
		}
	}
	return "", false
}

// stem is the file's name without folder, .gz and extension.
func stem(path string) string {
	base := strings.TrimSuffix(filepath.Base(path), ".gz")
	return strings.TrimSuffix(base, filepath.Ext(base))
}

// inFolder lists the CSV and YAML files of a folder, sorted.
func inFolder(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		switch filepath.Ext(strings.TrimSuffix(e.Name(), ".gz")) {
		case ".csv", ".yaml", ".yml", ".swf":
			out = append(out, e.Name())
		}
	}
	slices.Sort(out)
	return out
}
