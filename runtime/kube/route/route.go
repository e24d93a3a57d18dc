// Package route finds the queue of a job: the one that it names, or the one that the
// placement rules of the queue configuration give it, by YuniKorn's rules. A rule may also
// give it a queue that is not there yet and is to be created; and where the configuration
// says who may submit to a queue, nobody else gets it.
package route

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/config"
)

// Job is what the rules look at.
type Job struct {
	Queue     string // as the job names it: a full path, or one below root; "" if none
	User      string // "" is Nobody
	Groups    []string
	Namespace string
	// ParentQueue is what the namespace's annotation ParentQueueKey says, "" if nothing: the
	// queue that the queues of the namespace's jobs are to be below.
	ParentQueue string
}

// ParentQueueKey is YuniKorn's annotation of a namespace that the tag
// namespace.parentqueue stands for.
const ParentQueueKey = "yunikorn.apache.org/parentqueue"

// Nobody is the user of a pod that nothing tells the user of, as YuniKorn calls it: rules
// and ACLs may name it.
const Nobody = "nobody"

// Place is where a job goes.
type Place struct {
	Path string // of a leaf
	// Below is the configured queue that Path is to be created under, the nearest to it; ""
	// if Path is there.
	Below string
}

// Codes of refusals.
const (
	NoQueue = "no-queue"       // the queue is missing, or no leaf, or no rule gives one
	Denied  = "acl-denied"     // the user may not submit to it
	BadName = "bad-queue-name" // no queue can have the name that a rule gives
)

// Refusal is why a job has no queue.
type Refusal struct {
	Code string // stable
	Text string // names the queue, the user if it is about that, and what to do
}

func (r *Refusal) Error() string { return r.Text }

// Router knows one queue tree. It is a value that nobody changes.
type Router struct {
	nodes   map[string]*node // by path in lower case
	rules   []rule
	guarded bool // some queue says who may submit to it, so each has to
}

// node is a queue.
type node struct {
	path       string // as configured
	leaf       bool
	configured bool // else created by a rule
	up         *node
	acl        []config.ACL // of the queue itself
}

// rule is a placement rule, ready for use.
type rule struct {
	kind, value string
	create      bool
	filter      filter
	parent      *rule
}

// fallback is the queue of jobs that no rule places, if there is one (YuniKorn's).
const fallback = "root.default"

// New returns the router of a configured tree, in which rules have created these leaves.
func New(tree spec.Tree, created ...string) *Router {
	r := &Router{nodes: map[string]*node{}}
	rules := tree.Rules
	if len(rules) == 0 { // YuniKorn: no rules is one rule
		rules = []spec.PlacementRule{{Name: "provided"}}
	}
	for i := range rules {
		r.rules = append(r.rules, ruleOf(&rules[i]))
	}
	root := tree.Root
	if root == nil {
		root = &spec.Queue{Name: "root", Children: []*spec.Queue{{Name: "default"}}}
	}
	r.add(root, root.Name, nil)
	for _, path := range created {
		r.create(path, true)
	}
	return r
}

func ruleOf(s *spec.PlacementRule) rule {
	out := rule{kind: strings.ToLower(s.Name), value: strings.TrimSpace(s.Value), create: s.Create, filter: filterOf(&s.Filter)}
	if s.Parent != nil {
		p := ruleOf(s.Parent)
		out.parent = &p
	}
	return out
}

func (r *Router) add(q *spec.Queue, path string, up *node) {
	n := &node{path: path, leaf: len(q.Children) == 0 && !q.Parent, configured: true, up: up}
	for _, text := range []string{q.SubmitACL, q.AdminACL} {
		if strings.TrimSpace(text) != "" {
			n.acl, r.guarded = append(n.acl, config.ParseACL(text)), true
		}
	}
	r.nodes[strings.ToLower(path)] = n
	for _, c := range q.Children {
		r.add(c, path+"."+c.Name, n)
	}
}

// create adds a leaf that a rule has created, and parents on the way to it.
func (r *Router) create(path string, leaf bool) *node {
	n := r.nodes[strings.ToLower(path)]
	above, _, below := cutLast(path)
	if n != nil || !below {
		return n
	}
	n = &node{path: path, leaf: leaf, up: r.create(above, false)}
	r.nodes[strings.ToLower(path)] = n
	return n
}

// cutLast parts the last name from a path.
func cutLast(path string) (above, name string, ok bool) {
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		return path[:i], path[i+1:], true
	}
	return "", path, false
}

// Place finds the leaf of a job. The first rule counts whose queue is there, or may be
// created, and that the user may submit to. The error is a Refusal; of several reasons it
// is the first, but for being denied, which is told before all others.
func (r *Router) Place(j Job) (Place, error) {
	if j.User == "" {
		j.User = Nobody
	}
	var why *Refusal
	refuse := func(no *Refusal) {
		if no != nil && (why == nil || why.Code != Denied && no.Code == Denied) {
			why = no
		}
	}
	for i := range r.rules {
		path, no := r.apply(&r.rules[i], &j)
		if path != "" {
			place, denied := r.judge(path, &j)
			if denied == nil {
				return place, nil
			}
			no = denied
		}
		refuse(no)
	}
	if n := r.nodes[fallback]; n != nil && n.leaf && j.Queue == "" {
		place, no := r.judge(n.path, &j)
		if no == nil {
			return place, nil
		}
		refuse(no)
	}
	return Place{}, r.refusal(why, &j)
}

// Has says whether there is a leaf at a path, as Place gives it.
func (r *Router) Has(path string) bool {
	n := r.nodes[strings.ToLower(path)]
	return n != nil && n.leaf
}

// judge says whether the job's user may use the queue at a path that a rule gives, which
// need not be there.
func (r *Router) judge(path string, j *Job) (Place, *Refusal) {
	n, rest := r.nearest(path)
	switch {
	case n == nil:
		return Place{}, refusal(NoQueue, "queue %s is not below the root", path)
	case rest == "" && !n.leaf:
		return Place{}, refusal(NoQueue, "queue %s has children, or is to have some; jobs go into leaves", n.path)
	case rest != "" && n.leaf:
		return Place{}, refusal(NoQueue, "queue %s can't be created: %s is a leaf", path, n.path)
	case !r.mayUse(n, j):
		return Place{}, denial(n, path, j)
	case rest == "":
		return Place{Path: n.path}, nil
	}
	for name := range strings.SplitSeq(rest, ".") {
		if !queueName.MatchString(name) {
			return Place{}, refusal(BadName, "a placement rule gives the queue %s, and %q is no name of a queue: 1 to 64 letters, digits and - _ # @ / :", path, name)
		}
	}
	place := Place{Path: n.path + "." + strings.ToLower(rest)}
	for ; !n.configured; n = n.up {
	}
	place.Below = n.path
	return place, nil
}

// mayUse says whether the job's user may submit to the queue: access to a queue is access
// to all below it. Where no queue says anything about it everybody may.
func (r *Router) mayUse(n *node, j *Job) bool {
	for at := n; at != nil; at = at.up {
		if slices.ContainsFunc(at.acl, func(a config.ACL) bool { return a.Allows(j.User, j.Groups) }) {
			return true
		}
	}
	return !r.guarded
}

// nearest is the deepest queue that is there on the way to a path, and what is missing
// then; nil if not even the root is.
func (r *Router) nearest(path string) (n *node, rest string) {
	for above := path; ; {
		if n := r.nodes[strings.ToLower(above)]; n != nil {
			return n, strings.TrimPrefix(path[len(above):], ".")
		}
		var ok bool
		if above, _, ok = cutLast(above); !ok {
			return nil, ""
		}
	}
}

func refusal(code, format string, args ...any) *Refusal {
	return &Refusal{code, fmt.Sprintf(format, args...)}
}

// denial says who may not use which queue.
func denial(n *node, path string, j *Job) *Refusal {
	who := fmt.Sprintf("user %q", j.User)
	if named := slices.DeleteFunc(slices.Clone(j.Groups), func(g string) bool { return g == "" }); len(named) > 0 {
		who += fmt.Sprintf(" (groups %s)", strings.Join(named, ", "))
	}
	what := "to queue " + n.path
	if len(path) > len(n.path) {
		what += ", below which " + path + " would be created"
	}
	text := fmt.Sprintf("%s may not submit %s: no submitacl or adminacl of it or of a queue above names them", who, what)
	if j.User == Nobody {
		text += fmt.Sprintf("; a pod whose annotation yunikorn.apache.org/user.info does not tell its user is %s's", Nobody)
	}
	return &Refusal{Denied, text}
}

// refusal is what a job is told that no rule has a queue for.
func (r *Router) refusal(why *Refusal, j *Job) error {
	named := slices.ContainsFunc(r.rules, func(rule rule) bool { return rule.kind == "provided" })
	switch {
	case j.Queue != "" && !named && (why == nil || why.Code == NoQueue):
		text := fmt.Sprintf("no placement rule takes the queue %q that the job names", j.Queue)
		if why != nil {
			text += "; " + why.Text
		}
		return &Refusal{NoQueue, text}
	case why != nil:
		return why
	case j.Queue != "":
		return refusal(NoQueue, "no placement rule takes the queue %q that the job names", j.Queue)
	}
	return refusal(NoQueue, "the job names no queue, no placement rule gives it one, and there is no queue %s; set the label muster.dev/queue (or queue)", fallback)
}

// apply is the path that a rule gives the job, "" if it gives none; the refusal then says
// why, if there is more to say than that the rule is about other jobs.
func (r *Router) apply(rule *rule, j *Job) (path string, why *Refusal) {
	name, full := rule.name(j)
	switch {
	case !rule.filter.passes(j):
		return "", nil
	case name == "" && rule.kind == "tag" && strings.EqualFold(rule.value, config.TagParentQueue):
		return "", refusal(NoQueue, "a placement rule goes by the annotation %s, and namespace %s has none", ParentQueueKey, j.Namespace)
	case name == "":
		return "", nil
	}
	path = name
	if !full {
		parent := "root"
		if rule.parent != nil {
			if parent, why = r.apply(rule.parent, j); parent == "" {
				return "", why
			}
		}
		path = r.below(parent, name, rule)
	}
	if n := r.nodes[strings.ToLower(path)]; n == nil && !rule.create {
		return "", refusal(NoQueue, "queue %s is not in the configuration", path)
	}
	return path, nil
}

// name is what a rule makes of the job: a full path, or a name below the parent. Users and
// namespaces are names, even one that is called root.
func (rule *rule) name(j *Job) (name string, full bool) {
	switch rule.kind {
	case "provided":
		name = strings.TrimSpace(j.Queue)
		return name, qualified(name)
	case "user":
		return escape(j.User), false
	case "fixed":
		return rule.value, qualified(rule.value)
	case "tag":
		return rule.tag(j)
	}
	return "", false
}

// tag is the value of a tag. Every pod has its namespace, and what that says of itself.
func (rule *rule) tag(j *Job) (name string, full bool) {
	switch strings.ToLower(rule.value) {
	case config.TagNamespace:
		return escape(j.Namespace), false
	case config.TagParentQueue:
		if name = strings.TrimSpace(j.ParentQueue); qualified(name) {
			return name, true
		}
		return escape(name), false
	}
	return "", false
}

// below is the path of a name below a parent. YuniKorn takes the dots of a queue that a job
// names without the root for a part of its name; where there is a queue of that path, or
// none is to be created, they part names here.
func (r *Router) below(parent, name string, rule *rule) string {
	path := parent + "." + name
	if rule.kind != "provided" || !strings.Contains(name, ".") {
		return path
	}
	if n := r.nodes[strings.ToLower(path)]; n != nil && n.configured {
		return path
	}
	escaped := parent + "." + escape(name)
	if rule.create || r.nodes[strings.ToLower(escaped)] != nil {
		return escaped
	}
	return path
}

func qualified(path string) bool {
	return strings.EqualFold(path, "root") || len(path) > 5 && strings.EqualFold(path[:5], "root.")
}

// escape keeps a name one part of a path (YuniKorn's replacement).
func escape(name string) string { return strings.ReplaceAll(name, ".", "_dot_") }

// queueName is what a queue may be called: YuniKorn's pattern.
var queueName = regexp.MustCompile(`^[a-zA-Z0-9_:#/@-]{1,64}$`)
