// Package config reads queue configuration: YuniKorn's queues.yaml exactly as it
// is, and Muster's own keys beside YuniKorn's, into spec.Tree.
//
// A file is judged as a whole: Parse reports every problem it has, each with
// line, column, a stable code and, where there is one, a hint. What YuniKorn
// refuses is an error here too; what YuniKorn silently ignores is a warning.
// Parse never panics, and what YAML aliases may expand to is bounded before
// anything is expanded.
package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/musterhq/muster/builtin/spec"
)

// Bounds of one file. They are far above any real configuration; a file beyond
// them is refused instead of being read slowly.
const (
	MaxBytes  = 4 << 20   // of text (a ConfigMap holds 1 MiB)
	MaxDepth  = 64        // queues below each other, as written
	MaxQueues = 100_000   // in the whole file
	maxNodes  = 4_000_000 // YAML nodes after the expansion of aliases
	maxNest   = 200       // YAML collections inside each other
)

// File is a configuration without errors.
type File struct {
	Partitions []Partition // in the order of the file; YuniKorn's shim uses "default" only
}

// Partition is one of YuniKorn's partitions, with the settings that Tree has no
// place for.
type Partition struct {
	Name       string // "default" if the file gives none
	Tree       spec.Tree
	Preemption PartitionPreemption
	NodeSort   NodeSort
	// Guarded says that some queue has a submitacl or an adminacl: then nobody may submit to
	// queues that none on their path lets them into. In other files everybody may.
	Guarded bool
	// UserGroupResolver is YuniKorn's usergroupresolver.type as written.
	UserGroupResolver string
	// RawChecksum is YuniKorn's checksum of the whole text: SHA-256 in upper-case
	// hex, lines that start with "checksum: " left out.
	RawChecksum string
}

// PartitionPreemption has YuniKorn's preemption switches of a partition. If
// Enabled is false, the preemption policy of the root queue is "disabled" too,
// so a reader of Tree alone gets it right.
type PartitionPreemption struct {
	Enabled bool // true unless the file says otherwise
	Quota   bool // quotapreemptionenabled
}

// NodeSort is YuniKorn's nodesortpolicy: "" (unset), "fair" or "binpacking", and
// weights by resource name as written.
type NodeSort struct {
	Type            string
	ResourceWeights map[string]float64
}

// Parse reads the text of a configuration; file is its name in problems. The
// File is nil if there is any error; Problems may hold warnings even if there is
// none, so ask Problems.Err, not whether Problems is empty.
func Parse(file string, text []byte) (*File, Problems) {
	r := newReport(file, text)
	root, ok := parseYAML(r, text)
	if !ok {
		return nil, r.finish()
	}
	raw := decodeFile(&reader{report: r, aliases: root.aliases}, root.body)
	out := &File{}
	sum := checksum(text)
	for _, p := range checkPartitions(r, raw.partitions) {
		part := buildPartition(p)
		part.RawChecksum = sum
		out.Partitions = append(out.Partitions, part)
	}
	problems := r.finish()
	if problems.Err() != nil {
		return nil, problems
	}
	return out, problems
}

func checkPartitions(r *report, parts []*rawPartition) []*rawPartition {
	seen := map[string]pos{}
	for _, p := range parts {
		key := strings.ToLower(p.name.text)
		if key == "" || key == "default" {
			key, p.name.text = "default", "default"
		}
		if first, dup := seen[key]; dup {
			r.errorf(p.nameAt(), CodeDuplicatePartition, "give each partition its own name; no name means default",
				"partition %q is already defined at line %d", p.name.text, first.line)
		} else {
			seen[key] = p.nameAt()
		}
		if key != "default" {
			r.warnf(p.nameAt(), CodeNotApplied, "put its queues into the partition default, below the root",
				"partition %q has no effect: all nodes of a cluster are in the partition default", p.name.text)
		}
		checkPartition(r, p)
	}
	return parts
}

func checkPartition(r *report, p *rawPartition) {
	if !p.checkStructure(r) {
		return
	}
	p.mergeLimits(r)
	p.root.walk(func(q *rawQueue) { checkQueue(r, q) })
	checkResources(r, p.root)
	checkPlacement(r, p)
	if guarded(p.root) {
		checkReach(r, p.root)
	}
	checkNodeSort(r, p)
	checkMaxApps(r, p.root)
	checkLimitTree(r, p.root)
}

func checksum(text []byte) string {
	h := sha256.New()
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "checksum: ") {
			fmt.Fprint(h, line) // a hash never fails to write
		}
	}
	return strings.ToUpper(hex.EncodeToString(h.Sum(nil)))
}
