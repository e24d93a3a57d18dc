// Package report is what the conformance suite found, as a value and as files: YAML to
// keep and to read back, JUnit for CI, one HTML page for people, a badge for a README,
// and for each broken law the batch that breaks it.
package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// Kind is the kind of a report's document.
const Kind = "PolicyConformanceReport"

// Verdict is the result of a profile or of a whole report.
type Verdict string

// The verdicts. Partial means that every law that must hold does, and some that should
// do not.
const (
	Success Verdict = "success"
	Partial Verdict = "partial"
	Failed  Verdict = "failure"
)

// Report is one run of the suite over one subject. Two runs of the same suite over the
// same subject with the same seed give the same report, but for Measured.Time.
type Report struct {
	Kind     string    `yaml:"kind"`
	Policy   Policy    `yaml:"policy"`
	Suite    Suite     `yaml:"suite"`
	Host     Machine   `yaml:"host"`
	Result   Verdict   `yaml:"result"`
	Profiles []Profile `yaml:"profiles"`
	Claims   Claims    `yaml:"claims"`
	Measured Measured  `yaml:"measured"`
	Laws     []Law     `yaml:"laws"`

	// Failures are what breaks the broken laws. They are files of their own, so a report
	// that was read back has none.
	Failures []Failure `yaml:"-"`
}

// Policy says what was checked.
type Policy struct {
	Name    string   `yaml:"name"`
	Version string   `yaml:"version,omitempty"`
	Digest  string   `yaml:"digest"`        // sha256:… of a module, builtin of a policy in Go
	ABI     string   `yaml:"abi,omitempty"` // of a module
	Kinds   []string `yaml:"kinds,omitempty,flow"`
	License string   `yaml:"license,omitempty"`
	Source  string   `yaml:"source,omitempty"`
}

// Suite says by what it was checked.
type Suite struct {
	Version string `yaml:"version"`
	// Laws is a digest over the ids, severities and statements of all laws of the suite.
	Laws string `yaml:"laws"`
	Seed uint64 `yaml:"seed"`
}

// Machine says where.
type Machine struct {
	Version string `yaml:"version"`
	Arch    string `yaml:"arch"`
}

// Profile is the result of a group of laws.
type Profile struct {
	Name    string   `yaml:"name"`
	Result  Verdict  `yaml:"result"`
	Kept    int      `yaml:"kept"`
	Broken  int      `yaml:"broken"`
	Skipped int      `yaml:"skipped"`
	Failed  []string `yaml:"failed,omitempty,flow"` // ids of the broken laws
}

// Claims compares what the policy says of itself with what was seen.
type Claims struct {
	Confirmed []string `yaml:"confirmed,omitempty,flow"`
	Refuted   []string `yaml:"refuted,omitempty,flow"`
	// Unclaimed laws held, though nobody claims them.
	Unclaimed []string `yaml:"unclaimed,omitempty,flow"`
}

// Measured are figures. All but Time are the same on every machine.
type Measured struct {
	Bytes     int    `yaml:"bytes,omitempty"`     // of the module
	PeakPages uint32 `yaml:"peakPages,omitempty"` // of 64 KiB
	Fuel      []Fuel `yaml:"fuel,omitempty"`
	Time      *Time  `yaml:"time,omitempty"`
}

// Fuel is a line through the fuel of calls of different sizes.
type Fuel struct {
	Kind   string  `yaml:"kind"`
	Base   int64   `yaml:"base"`   // units of an empty call
	PerRow float64 `yaml:"perRow"` // units
	Fit    float64 `yaml:"fit"`    // R², 1 is a straight line
}

// Time depends on the machine and on the moment.
type Time struct {
	CompileMs       float64            `yaml:"compileMs,omitempty"`     // compile and start the first time
	InstantiateUs   float64            `yaml:"instantiateUs,omitempty"` // a further instance
	NanosecondsARow map[string]float64 `yaml:"nsPerRow,omitempty"`      // by kind, 10,000 rows (1,000 queues)
	SuiteSeconds    float64            `yaml:"suiteSeconds"`
}

// Law is the outcome of one law.
type Law struct {
	ID        string `yaml:"id"`
	Profile   string `yaml:"profile"`
	Severity  string `yaml:"severity"`
	Outcome   string `yaml:"outcome"` // kept, broken, skipped, not claimed
	Statement string `yaml:"-"`
	What      string `yaml:"what,omitempty"`
	Note      string `yaml:"note,omitempty"`
}

// The outcomes of a law. NotClaimed is a law that does not hold and that nobody claims.
const (
	Kept       = "kept"
	Broken     = "broken"
	Skipped    = "skipped"
	NotClaimed = "not claimed"
)

// Failure is what breaks a law.
type Failure struct {
	Law, Statement, What string
	Seed                 uint64
	Case                 int
	// Batch is a .mbatch file; With the second one, if the law compares two.
	Batch, With []byte
}

// Read reads a report.yaml.
func Read(src []byte) (*Report, error) {
	var r Report
	if err := yaml.Unmarshal(src, &r); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	if r.Kind != Kind {
		return nil, fmt.Errorf("report: kind is %q, want %s", r.Kind, Kind)
	}
	return &r, nil
}

// YAML writes the report; Read reads it.
func (r *Report) YAML() ([]byte, error) {
	return yaml.MarshalWithOptions(r, yaml.Indent(2), yaml.IndentSequence(true))
}

// Text is the report in a few lines, for a terminal.
func (r *Report) Text() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s %s: %s (suite %s, seed %d)\n", r.Policy.Name, r.Policy.Version, r.Result, r.Suite.Version, r.Suite.Seed)
	for _, p := range r.Profiles {
		fmt.Fprintf(&s, "  %-10s %-8s %d kept, %d broken, %d skipped\n", p.Name, p.Result, p.Kept, p.Broken, p.Skipped)
	}
	for _, l := range r.Laws {
		if l.Outcome == Broken {
			fmt.Fprintf(&s, "  broken: %s (%s): %s\n", l.ID, l.Severity, l.What)
		}
	}
	return s.String()
}

// Profile finds a profile by its name.
func (r *Report) Profile(name string) (Profile, bool) {
	i := slices.IndexFunc(r.Profiles, func(p Profile) bool { return p.Name == name })
	if i < 0 {
		return Profile{}, false
	}
	return r.Profiles[i], true
}

// Judge fills Result, Profiles and the verdicts in them from the laws, in the order of
// the given profile names.
func (r *Report) Judge(profiles []string) {
	r.Result, r.Profiles = Success, nil
	for _, name := range profiles {
		p := Profile{Name: name, Result: Success}
		for _, l := range r.Laws {
			if l.Profile == name {
				p.count(l)
			}
		}
		if p.Kept+p.Broken+p.Skipped == 0 {
			continue
		}
		r.Profiles = append(r.Profiles, p)
		r.Result = worse(r.Result, p.Result)
	}
}

func (p *Profile) count(l Law) {
	switch l.Outcome {
	case Kept:
		p.Kept++
	case Skipped:
		p.Skipped++
	case Broken:
		p.Broken++
		p.Failed = append(p.Failed, l.ID)
		v := Failed
		if l.Severity == "should" {
			v = Partial
		}
		p.Result = worse(p.Result, v)
	}
}

func worse(a, b Verdict) Verdict {
	rank := map[Verdict]int{Success: 0, Partial: 1, Failed: 2}
	if rank[b] > rank[a] {
		return b
	}
	return a
}
