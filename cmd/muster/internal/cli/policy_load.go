package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/cmd/muster/internal/operator"
	"github.com/musterhq/muster/cmd/muster/internal/policyset"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/reload"
	"github.com/musterhq/muster/runtime/reload/wanted"
	"github.com/musterhq/muster/runtime/rules"
)

const policiesFile = "policies.yaml"

type loadFlags struct {
	whereFlags
	name, beside, guard, by, format string
	params, signedBy                []string
	pin, shadow, plain              bool
	shadowFor, wait                 time.Duration
}

func (a *app) policyLoad() *cobra.Command {
	var f loadFlags
	c := a.command("load POLICY", "have a scheduler load a policy", aboutSources+`

First the policy goes through all that a scheduler would do with it: it is fetched,
its digest and signatures are verified, it is compiled, and held to the laws that no
policy may break. A policy that fails changes nothing. Then it is put into
policies.yaml, which every scheduler that runs with that file follows: the new
version takes over between two cycles, and the one before stays ready for
`+"`muster policy rollback`"+`. Queues name a policy by its name.

With --cluster it goes into the Policy object of its name instead, which the scheduler of
that Kubernetes cluster follows; a module, bundle or folder goes into a ConfigMap beside
the scheduler.`, `
  muster policy load my-order.wasm --name my-order
  muster policy load oci:registry.internal/policies/order:1.5 --name order --shadow --pin
  muster policy load my-order.wasm --name my-order --cluster --wait 30s`,
		"0 it is where the scheduler finds it, 1 it was refused, 2 it was called wrongly", cobra.ExactArgs(1),
		func(ctx context.Context, args []string) error {
			if err := checkFormat(f.format); err != nil {
				return err
			}
			return operatorFailed(a.load(ctx, args[0], f))
		})
	formatFlag(c, &f.format)
	f.add(a, c, "to put it into")
	c.Flags().StringVar(&f.namespace, "namespace", "muster-system", "`NAMESPACE` of a cluster's scheduler")
	c.Flags().StringVar(&f.name, "name", "", "`NAME` by which queues name it (default: its own)")
	c.Flags().StringArrayVar(&f.params, "param", nil, "setting of the policy, `NAME=VALUE`; may be repeated")
	c.Flags().StringArrayVar(&f.signedBy, "signed-by", nil, "`ID` of a trusted key of which one must have signed it")
	c.Flags().BoolVar(&f.pin, "pin", false, "load exactly these bytes, also when the file or tag changes")
	c.Flags().BoolVar(&f.shadow, "shadow", false, "ask it beside the one that decides, and only compare")
	c.Flags().StringVar(&f.beside, "beside", "", "`NAME` of the policy to compare a shadow with (default: its own)")
	c.Flags().DurationVar(&f.shadowFor, "shadow-for", 0, "run it as a shadow for so long, then let it decide")
	c.Flags().StringVar(&f.guard, "guard", "", "`DIR` of rules that say who may load what")
	c.Flags().StringVar(&f.by, "by", "", "`WHO` loads it, for the guard")
	c.Flags().BoolVar(&f.plain, "plain-http", false, "use http, to a registry on this machine")
	c.Flags().DurationVar(&f.wait, "wait", 0, "wait so long for the scheduler to say what became of it")
	return c
}

func (a *app) load(ctx context.Context, policy string, f loadFlags) error {
	cluster, err := a.clusterOf(f.whereFlags)
	if err != nil {
		return err
	}
	s, err := f.spec(policy)
	if err != nil {
		return err
	}
	file, text, dir := &wanted.File{}, []byte(nil), "."
	if cluster == nil {
		if file, text, err = operator.Read(f.at); err != nil {
			return err
		}
		dir, s.Source = filepath.Dir(f.at), operator.Relative(f.at, s.Source)
	}
	var guard *rules.Rules
	if f.guard != "" {
		if guard, err = openRules(ctx, f.guard); err != nil {
			return err
		}
	}
	if s.Name == "" {
		s.Name = moduleName(policy)
	}
	v, err := operator.Try(ctx, dir, f.by, s, file.Trust, guard)
	if err != nil {
		return &policyset.FileError{Path: policy, Err: err}
	}
	if f.name == "" && v.Name != "" {
		s.Name = v.Name
	}
	if f.pin {
		s.Digest = v.Digest
	}
	v.Spec = s.Name
	if cluster != nil {
		return a.loadInto(ctx, cluster, s, v, f)
	}
	before := time.Now()
	if text, err = operator.Put(f.at, text, s); err != nil {
		return err
	}
	if err := operator.Write(f.at, text); err != nil {
		return err
	}
	if err := a.print(f.format, v, func() error { a.loadedText(v, f, f.at); return nil }); err != nil {
		return err
	}
	return a.awaitLoad(ctx, f, s.Slot(), v.Digest, before)
}

func (f *loadFlags) spec(policy string) (wanted.Spec, error) {
	src, err := operator.ParseSource(policy)
	if err != nil {
		return wanted.Spec{}, err
	}
	src.PlainHTTP = f.plain
	params, err := readParams(f.params)
	if err != nil {
		return wanted.Spec{}, err
	}
	s := wanted.Spec{Name: f.name, Source: src, SignedBy: f.signedBy, Params: params, Mode: wanted.Active, Beside: f.beside, ShadowFor: f.shadowFor}
	if f.shadow || f.beside != "" {
		s.Mode = wanted.Shadow
	}
	if len(params) == 0 {
		s.Params = nil
	}
	return s, nil
}

// loadedText tells people what was loaded, and where that is written now.
func (a *app) loadedText(v reload.Version, f loadFlags, where string) {
	for _, st := range v.History {
		switch st.State {
		case reload.Fetched, reload.Verified, reload.Compiled:
			fmt.Fprintln(a.out, strings.TrimSpace(fmt.Sprintf("%-9s %s", st.State, st.Text)))
		case reload.Checked:
			fmt.Fprintf(a.out, "%-9s %s\n", st.State, v.Check)
		}
	}
	fmt.Fprintf(a.out, "%s: %s %s, decides %s\n", where, identity(or(v.Name, v.Spec), v.Version), v.Digest, strings.Join(v.Kinds, ", "))
	switch {
	case f.shadow || f.beside != "":
		fmt.Fprintln(a.out, a.say("it is a shadow: `muster policy status` shows what it would have decided, `promote` makes it decide"))
	case len(v.Kinds) > 0 && v.Kinds[0] != "rules":
		fmt.Fprintf(a.out, "queues.yaml names it: %s\n", strings.Join(queueKeys(v.Kinds, v.Spec), ", "))
	}
}

// queueKeys are the lines of queues.yaml that use a policy.
func queueKeys(kinds []string, name string) (out []string) {
	keys := map[string]string{policies.JobOrder.String(): "jobOrder", policies.QueueShares.String(): "fairness", policies.VictimCosts.String(): "victims"}
	for _, k := range kinds {
		out = append(out, keys[k]+": "+name)
	}
	return out
}

// awaitLoad follows the status file until the scheduler has taken the version or
// refused it.
func (a *app) awaitLoad(ctx context.Context, f loadFlags, name, digest string, since time.Time) error {
	if f.wait <= 0 {
		return nil
	}
	deadline := time.Now().Add(f.wait)
	for time.Now().Before(deadline) {
		st, err := reload.ReadStatus(operator.StatusFile(f.at))
		if err == nil {
			if p, ok := st.Find(name); ok {
				for _, v := range []*reload.Version{p.Active, p.Shadow} {
					if v != nil && v.Digest == digest {
						a.remark("the scheduler has it: version %d is %s", v.Number, v.State)
						return nil
					}
				}
				if len(p.Past) > 0 && p.Past[0].State == reload.Refused && p.Past[0].Since > since.UnixNano() {
					return failed(p.Past[0].Hint, "the scheduler refused it: %s (%s)", p.Past[0].Text, p.Past[0].Code)
				}
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return failed("does a scheduler run with this policies.yaml? `muster policy status` shows what it last said", "no scheduler has taken it within %s", f.wait)
}

func (a *app) policyRollback() *cobra.Command {
	return a.asking(reload.OpRollback, "put the version before back, at once", `
Asks the scheduler that runs with this policies.yaml. The version before is still
compiled, so nothing is fetched: it decides from the next cycle on. policies.yaml is
not changed; `+"`muster policy load`"+` loads another version.`, `
With --cluster the scheduler of that Kubernetes cluster is asked, by an annotation of the
Policy object. It lasts until the object or its source changes, or the scheduler starts
anew: load the version that you want to keep.`,
		"0 the version before decides, 1 there is none or no scheduler answered, 2 it was called wrongly", 5*time.Second)
}

func (a *app) policyReload() *cobra.Command {
	return a.asking(reload.OpReload, "fetch a policy again, and lift its quarantine", `
Asks the scheduler that runs with this policies.yaml to fetch, verify, compile and check
the policy anew, and to put it in place of the one that runs, even if it is the same. A
tag is resolved again, and a quarantine ends.`, `
With --cluster the scheduler of that Kubernetes cluster is asked, by an annotation of the
Policy object.`,
		"0 it decides, 1 it was refused or no scheduler answered, 2 it was called wrongly", 15*time.Second)
}

func (a *app) policyPromote() *cobra.Command {
	return a.asking(reload.OpPromote, "let a shadow decide", `
Asks the scheduler that runs with this policies.yaml to make the shadow beside a
policy the active one, from the next cycle on.`, `
With --cluster the scheduler of that Kubernetes cluster is asked, by an annotation of the
shadow's Policy object. To make it last, write mode: active into the object, too.`,
		"0 the shadow decides, 1 there is none or no scheduler answered, 2 it was called wrongly", 5*time.Second)
}

// asking is a command that asks a running scheduler for one operation, called like it.
func (a *app) asking(op, short, long, onCluster, exits string, patience time.Duration) *cobra.Command {
	var f whereFlags
	var format string
	var wait time.Duration
	examples := fmt.Sprintf("\n  muster policy %s my-order\n  muster policy %s my-order --at cluster/policies.yaml --wait 30s\n  muster policy %s my-order --cluster", op, op, op)
	c := a.command(op+" NAME", short, long+"\n"+onCluster, examples, exits, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		if err := checkFormat(format); err != nil {
			return err
		}
		return operatorFailed(a.ask(ctx, f, reload.Request{Op: op, Name: args[0]}, wait, format))
	})
	f.add(a, c, "that the scheduler runs with")
	formatFlag(c, &format)
	c.Flags().DurationVar(&wait, "wait", patience, "wait so long for the scheduler's answer")
	return c
}

// took is what came of a request: which version decides, and which did before.
type took struct {
	Policy  string  `json:"policy"`
	Op      string  `json:"op"`
	Decides decider `json:"decides"`
	Before  decider `json:"before"`
}

type decider struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	Digest  string `json:"digest,omitempty"`
}

func (a *app) tellTook(format string, t took) error {
	return a.print(format, t, func() error {
		now := identity(t.Decides.Name, t.Decides.Version) + " " + short(t.Decides.Digest)
		if t.Decides == t.Before {
			fmt.Fprintf(a.out, "%s: %s decides, as before\n", t.Policy, now)
			return nil
		}
		fmt.Fprintf(a.out, "%s: %s decides, instead of %s\n", t.Policy, now, or(short(t.Before.Digest), t.Before.Name))
		return nil
	})
}

// ask asks the scheduler that is meant.
func (a *app) ask(ctx context.Context, f whereFlags, r reload.Request, wait time.Duration, format string) error {
	cluster, err := a.clusterOf(f)
	switch {
	case err != nil:
		return err
	case cluster != nil:
		return a.askCluster(ctx, cluster, r, wait, format)
	}
	return a.request(ctx, f.at, r, wait, format)
}

// request asks a running scheduler and waits for the active version to change.
func (a *app) request(ctx context.Context, at string, r reload.Request, wait time.Duration, format string) error {
	file := operator.StatusFile(at)
	before, err := reload.ReadStatus(file)
	if err != nil {
		return failed(noFile, "no scheduler runs with %s: %w", at, unpathed(err))
	}
	was, ok := before.Find(r.Name)
	switch {
	case !ok || was.Active == nil:
		return failed("`muster policy status` lists what is loaded", "no policy %q is active", r.Name)
	case r.Op == reload.OpRollback && was.Standby == nil:
		return failed("`muster policy status "+r.Name+"` shows its history", "there is no version of %s to go back to", r.Name)
	case r.Op == reload.OpPromote && was.Shadow == nil:
		return failed("`muster policy load --shadow` loads one", "there is no shadow beside %s", r.Name)
	}
	if err := reload.Ask(at, r); err != nil {
		return failed("may you write beside policies.yaml?", "cannot ask: %w", err)
	}
	for deadline := time.Now().Add(wait); time.Now().Before(deadline); {
		now, err := reload.ReadStatus(file)
		if err == nil {
			if p, ok := now.Find(r.Name); ok && p.Active != nil && p.Active.Number != was.Active.Number {
				return a.tellTook(format, took{r.Name, r.Op, deciderOf(r.Name, p.Active), deciderOf(r.Name, was.Active)})
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return failed("is the scheduler still running? `muster policy status` shows when it last wrote", "no answer within %s", wait)
}

func deciderOf(name string, v *reload.Version) decider {
	return decider{or(v.Name, name), v.Version, v.Digest}
}

func unpathed(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

func (a *app) policyStatus() *cobra.Command {
	var f whereFlags
	var format string
	c := a.command("status [NAME]", "show the policies of a scheduler", `
Reads what the scheduler has last written beside its policies.yaml: of each policy the
active version, the shadow and what it would have decided differently, the version
before, and what was refused or quarantined, with reasons. With a name, also the
history and the shadow's report.

With --cluster it reads the Policy objects of that Kubernetes cluster; -o json has them
as they are.`, `
  muster policy status
  muster policy status my-order --at cluster/policies.yaml -o json
  muster policy status --cluster`,
		"0 it was read, 1 there is none, 2 it was called wrongly", cobra.MaximumNArgs(1), func(ctx context.Context, args []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			cluster, err := a.clusterOf(f)
			switch {
			case err != nil:
				return err
			case cluster != nil:
				return operatorFailed(a.clusterStatus(ctx, cluster, args, format))
			}
			return a.fileStatus(f.at, args, format)
		})
	formatFlag(c, &format)
	f.add(a, c, "that the scheduler runs with")
	return c
}

func (a *app) fileStatus(at string, args []string, format string) error {
	st, err := reload.ReadStatus(operator.StatusFile(at))
	if err != nil {
		return failed(noFile, "no status of %s: %w", at, unpathed(err))
	}
	if len(args) == 0 {
		return a.print(format, st, func() error { return a.statusText(st) })
	}
	p, ok := st.Find(args[0])
	if !ok {
		return failed("`muster policy status` lists them", "there is no policy %q", args[0])
	}
	return a.print(format, p, func() error { return a.policyText(p) })
}

func (a *app) statusText(st reload.Status) error {
	for _, p := range st.Problems {
		fmt.Fprintf(a.out, "problem: %s\n", p)
	}
	fmt.Fprintf(a.out, "as of %s\n", time.Unix(0, st.At).UTC().Format(time.RFC3339))
	w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tVERSION\tDIGEST\tDECIDES\tCALLS\tFAULTS\tREASON")
	for _, p := range st.Policies {
		for _, v := range versionsOf(p) {
			calls, faults := "-", "-"
			if v.Calls != nil {
				calls, faults = fmt.Sprint(v.Calls.Calls), fmt.Sprint(v.Calls.Faults)
			}
			state := string(v.State)
			if v == p.Standby {
				state = "standby"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.Name, state, or(v.Version, "-"), short(v.Digest), strings.Join(v.Kinds, ","), calls, faults, whyOf(v))
		}
	}
	return w.Flush()
}

// versionsOf lists what people want to see first.
func versionsOf(p reload.PolicyStatus) (out []*reload.Version) {
	for _, v := range []*reload.Version{p.Active, p.Shadow, p.Incoming, p.Standby} {
		if v != nil {
			out = append(out, v)
		}
	}
	if len(p.Past) > 0 && p.Past[0].State == reload.Refused {
		out = append(out, &p.Past[0])
	}
	return out
}

func whyOf(v *reload.Version) string {
	if v.Text == "" {
		return string(v.Code)
	}
	return fmt.Sprintf("%s: %s", v.Code, v.Text)
}

func (a *app) policyText(p reload.PolicyStatus) error {
	versions := versionsOf(p)
	for i := range p.Past {
		if i > 0 || p.Past[i].State != reload.Refused {
			versions = append(versions, &p.Past[i])
		}
	}
	for _, v := range versions {
		fmt.Fprintf(a.out, "%s, version %d: %s, from %s\n", identity(or(v.Name, p.Name), v.Version), v.Number, v.State, or(v.Origin, v.Source))
		fmt.Fprintf(a.out, "  %s\n", v.Digest)
		if len(v.Signers) > 0 {
			fmt.Fprintf(a.out, "  signed by %s\n", strings.Join(v.Signers, ", "))
		}
		for _, s := range v.History {
			fmt.Fprintf(a.out, "  %s  %-11s %s %s\n", time.Unix(0, s.At).UTC().Format(time.RFC3339), s.State, s.Code, s.Text)
		}
		if v.Shadow != nil {
			if err := v.Shadow.WriteText(a.out); err != nil {
				return err
			}
		}
	}
	return nil
}
