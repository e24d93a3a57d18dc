package suite

import (
	"context"
	"crypto/sha256"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/musterhq/muster/conformance/suite/report"
	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/runtime/wasm"
)

// Report is the outcome of Check; package report turns it into files.
type Report = report.Report

// Check holds a subject to every law that applies. A broken law is not an error: it is
// in the report. Errors are a subject that does not say what it is, a file that can't be
// read, options that name nothing, and a context that ends.
func Check(ctx context.Context, s Subject, opt Options) (*Report, error) {
	began := time.Now()
	r, err := start(ctx, s, opt)
	if err != nil {
		return nil, err
	}
	defer r.close()
	results, err := r.laws(ctx)
	if err != nil {
		return nil, err
	}
	doc := r.report(results)
	r.measure(ctx, doc)
	doc.Measured.Time.SuiteSeconds = time.Since(began).Seconds()
	return doc, nil
}

func (r *run) report(results []Result) *Report {
	doc := &Report{
		Kind:   report.Kind,
		Policy: r.policy(),
		Suite:  report.Suite{Version: Version, Laws: LawsDigest(), Seed: r.opt.Seed},
		Host:   report.Machine{Version: hostVersion(), Arch: runtime.GOOS + "/" + runtime.GOARCH},
	}
	for _, res := range results {
		doc.Laws = append(doc.Laws, lawOf(res))
		claimable := res.Law.Severity == Claimed && res.Outcome != Skipped
		switch {
		case claimable && res.Claimed && res.Outcome == Kept:
			doc.Claims.Confirmed = append(doc.Claims.Confirmed, res.Law.Claim())
		case claimable && res.Claimed:
			doc.Claims.Refuted = append(doc.Claims.Refuted, res.Law.Claim())
		case claimable && res.Outcome == Kept:
			doc.Claims.Unclaimed = append(doc.Claims.Unclaimed, res.Law.Claim())
		}
		if f := res.Failure; f != nil && res.counts() {
			doc.Failures = append(doc.Failures, report.Failure{
				Law: f.Law, Statement: res.Law.Statement, What: f.What, Seed: f.Seed, Case: f.Case, Batch: f.Bytes, With: f.WithBytes,
			})
		}
	}
	var names []string
	for _, p := range Profiles() {
		names = append(names, string(p))
	}
	doc.Judge(names)
	return doc
}

// Describe gives the laws of a report that was read back their statements. Laws that this
// suite does not know stay without.
func Describe(doc *Report) {
	for _, l := range Laws() {
		for i := range doc.Laws {
			if doc.Laws[i].ID == l.ID {
				doc.Laws[i].Statement = l.Statement
			}
		}
	}
}

// counts says whether the outcome bears on the verdict: claimed laws do so only for who
// claims them.
func (res Result) counts() bool { return res.Law.Severity != Claimed || res.Claimed }

func lawOf(res Result) report.Law {
	l := report.Law{
		ID: res.Law.ID, Profile: string(res.Law.Profile), Severity: string(res.Law.Severity),
		Outcome: string(res.Outcome), Statement: res.Law.Statement, Note: res.Note,
	}
	switch {
	case !res.counts() && res.Outcome == Broken:
		l.Outcome = report.NotClaimed
	case !res.counts() && res.Outcome == Kept:
		l.Outcome, l.Note = report.Skipped, "holds without a claim"
	case res.Failure != nil:
		l.What = res.Failure.What
	}
	return l
}

func (r *run) policy() report.Policy {
	p := report.Policy{Name: r.info.Name, Version: r.info.Version, Digest: r.info.Digest}
	for _, k := range allKinds {
		if r.info.Kinds&k != 0 {
			p.Kinds = append(p.Kinds, k.String())
		}
	}
	if r.opened.bin != nil {
		if p.Name == "" {
			p.Name = r.opened.name
		}
		p.Digest = fmt.Sprintf("sha256:%x", sha256.Sum256(r.opened.bin))
		p.ABI = fmt.Sprintf("%d.%d", hostabi.Major, hostabi.Minor)
		if in, err := wasm.Inspect(r.opened.name, r.opened.bin); err == nil {
			p.ABI = fmt.Sprintf("%d.%d", in.ABIMajor, in.Metadata.ABI.MinMinor)
			p.License, p.Source = in.Metadata.License, in.Metadata.Source
		}
	}
	if p.Name == "" {
		p.Name = r.opened.name
	}
	return p
}

// LawsDigest is a digest over everything that the suite demands: it changes when a law
// is added, dropped or said otherwise.
func LawsDigest() string {
	var s strings.Builder
	for _, l := range Laws() {
		fmt.Fprintf(&s, "%s|%s|%s|%s\n", l.ID, l.Profile, l.Severity, l.Statement)
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(s.String())))[:23]
}

// hostVersion is the version of Muster that this program was built with.
func hostVersion() string {
	const module = "github.com/musterhq/muster"
	in, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if in.Main.Path == module {
		return in.Main.Version
	}
	for _, d := range in.Deps {
		if d.Path == module {
			return d.Version
		}
	}
	return "unknown"
}
