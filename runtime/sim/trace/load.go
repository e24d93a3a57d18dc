package trace

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Options of Load. The zero value does what the format's source recommends.
type Options struct {
	// Format is one of Formats; empty detects it from the content.
	Format string
	// Name of the trace; empty takes the file's.
	Name string
	// Nodes and GPUsPerNode override the cluster of formats that do not describe
	// one (philly, muri, shockwave, chronus, swf).
	Nodes, GPUsPerNode int64
	// NodeFile is the node list of openb and csv; empty looks beside the jobs.
	NodeFile string
	// QueueFile is the queue list of csv, and the nodes per virtual cluster of
	// philly; empty looks beside the jobs.
	QueueFile string
	// WarmupFile has philly jobs that come before those that count; a folder
	// brings its own.
	WarmupFile string
	// Static reads openb as a fill without time, the published experiment.
	Static bool
	// PerfectEstimates declares every job's true run time to the scheduler.
	PerfectEstimates bool
}

// Format describes a format that Load reads.
type Format struct{ Name, About string }

// Formats lists what Load reads, in the order of `--help`.
func Formats() []Format {
	return []Format{
		{"yaml", "Muster's own, one file: nodes, queues, jobs"},
		{"csv", "Muster's own, as a folder or siblings: jobs, nodes, queues"},
		{"talk", "the talk's scenarios (t1_jobs.csv and siblings), a case of csv"},
		{"openb", "Alibaba GPU 2023: node list and pod list, fractions of a GPU"},
		{"philly", "Microsoft Philly 2017: jobs and nodes per virtual cluster"},
		{"swf", "Standard Workload Format, processors read as GPUs"},
		{"shockwave", "Shockwave (NSDI'23) job lists"},
		{"muri", "Muri (SIGCOMM'22) job lists"},
		{"chronus", "Chronus (SoCC'21) job lists with deadlines"},
	}
}

// Load reads a trace from a file or folder, plain or gzip. A failure is always
// a *Problems; then the trace is nil.
func Load(path string, o Options) (*Trace, error) {
	ps := &Problems{}
	t := load(path, o, ps)
	if err := ps.err(); err != nil {
		return nil, err
	}
	if o.Name != "" {
		t.Name = o.Name
	}
	if o.PerfectEstimates {
		for i := range t.Jobs {
			t.Jobs[i].Duration = t.Jobs[i].Run
		}
		t.note("every job declares its true run time")
	}
	return t, nil
}

func load(path string, o Options, ps *Problems) *Trace {
	if !checkOptions(o, ps) {
		return nil
	}
	file, warmup := resolve(path, o, ps)
	if file == "" {
		return nil
	}
	if o.WarmupFile == "" {
		o.WarmupFile = warmup
	}
	src, ok := readSource(file, ps)
	if !ok {
		return nil
	}
	t := parse(src, o, ps)
	if ps.Total > 0 || t == nil {
		return nil
	}
	t.settle()
	return t
}

func checkOptions(o Options, ps *Problems) bool {
	known := func(f Format) bool { return f.Name == o.Format }
	if o.Format != "" && !slices.ContainsFunc(Formats(), known) {
		ps.file("--format", CodeFormat, fmt.Sprintf("unknown format %q", clip(o.Format)), "known are "+formatNames())
	}
	if o.Nodes < 0 || o.Nodes > maxCount || o.GPUsPerNode < 0 || o.GPUsPerNode > maxGPUs {
		ps.file("--nodes", CodeValue, "the cluster size is out of range", fmt.Sprintf("1 to %d nodes", maxCount))
	}
	return ps.Total == 0
}

func formatNames() string {
	var names []string
	for _, f := range Formats() {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}

// parse chooses the reader. It is what the fuzz tests call with any bytes.
func parse(src source, o Options, ps *Problems) *Trace {
	format := o.Format
	if format == "" {
		format = detect(src)
	}
	readers := map[string]func(source, Options, *Problems) *Trace{
		"yaml": parseYAML, "csv": parseCSV, "talk": parseCSV, "openb": parseOpenb, "philly": parsePhilly,
		"swf": parseSWF, "shockwave": parseShockwave, "muri": parseMuri, "chronus": parseChronus,
	}
	read, ok := readers[format]
	if !ok {
		ps.add(Problem{src.name, 1, 1, CodeFormat, "this is no trace in a format that Muster knows", "known are " + formatNames() + "; name it with --format"})
		return nil
	}
	t := read(src, o, ps)
	if t != nil {
		t.Format = format
		if t.Name == "" {
			t.Name = stem(src.name)
		}
	}
	return t
}

// detect tells the format by extension, else by the columns of the header.
func detect(src source) string {
	switch filepath.Ext(strings.TrimSuffix(src.name, ".gz")) {
	case ".yaml", ".yml":
		return "yaml"
	case ".swf":
		return "swf"
	}
	first, _, _ := bytes.Cut(bytes.TrimPrefix(src.data, []byte("\ufeff")), []byte("\n"))
	line := strings.TrimSpace(string(first))
	if strings.HasPrefix(line, ";") {
		return "swf"
	}
	if strings.HasPrefix(line, "muster:") {
		return "yaml"
	}
	columns := strings.Split(line, ",")
	signatures := []struct {
		format  string
		columns []string
	}{
		{"openb", []string{"num_gpu", "gpu_milli"}},
		{"philly", []string{"submit_s", "num_gpus", "vc"}},
		{"muri", []string{"num_gpu", "submit_s", "iterations"}},
		{"shockwave", []string{"arrival_s", "gpus"}},
		{"chronus", []string{"num_gpu", "submit_time", "expect_time_list"}},
		{"csv", []string{"job", "queue", "submit_s"}},
	}
	for _, s := range signatures {
		if !slices.ContainsFunc(s.columns, func(c string) bool { return !slices.Contains(columns, c) }) {
			return s.format
		}
	}
	return ""
}

// resolve turns a folder, or the common beginning of a csv trace's files, into
// the file to start from; a philly folder also names its warm-up.
func resolve(path string, o Options, ps *Problems) (file, warmup string) {
	st, err := os.Stat(path)
	if err == nil && !st.IsDir() {
		return path, ""
	}
	if err != nil {
		for _, end := range []string{"_jobs.csv", "-jobs.csv"} {
			if f, ok := sibling(path, filepath.Base(path)+end); ok {
				return f, ""
			}
		}
		ps.file(path, CodeFile, plainError(err), "give the path of a trace file or folder")
		return "", ""
	}
	return resolveFolder(path, o, ps)
}

func resolveFolder(dir string, o Options, ps *Problems) (file, warmup string) {
	var candidates []string
	for _, name := range inFolder(dir) {
		switch {
		case strings.HasPrefix(name, "openb_pod_list_default."), strings.HasPrefix(name, "trace."):
			return filepath.Join(dir, name), ""
		case strings.Contains(name, "warmup"):
			warmup = filepath.Join(dir, name)
		case strings.Contains(name, "job") || strings.HasPrefix(name, "trace") || strings.HasSuffix(strings.TrimSuffix(name, ".gz"), ".swf"):
			candidates = append(candidates, name)
		}
	}
	if o.Name != "" {
		candidates = slices.DeleteFunc(candidates, func(n string) bool { return !strings.HasPrefix(n, o.Name) })
	}
	switch len(candidates) {
	case 1:
		return filepath.Join(dir, candidates[0]), warmup
	case 0:
		ps.file(dir, CodeFormat, "no trace in this folder", "give the file, or a folder with jobs.csv, nodes.csv and queues.csv")
	default:
		ps.file(dir, CodeFormat, "more than one trace in this folder", "give one of "+strings.Join(candidates, ", "))
	}
	return "", ""
}
