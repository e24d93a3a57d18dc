package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Queue is one node of the tree of quotas. The object named root is the root itself and
// may be left out; an object without a parent stands directly below it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=mq,categories=muster
// +kubebuilder:printcolumn:name="Path",type=string,JSONPath=`.status.path`,priority=1
// +kubebuilder:printcolumn:name="GPUs guaranteed",type=string,JSONPath=`.status.gpus.guaranteed`
// +kubebuilder:printcolumn:name="GPUs max",type=string,JSONPath=`.status.gpus.max`
// +kubebuilder:printcolumn:name="GPUs used",type=string,JSONPath=`.status.gpus.used`
// +kubebuilder:printcolumn:name="GPUs pending",type=string,JSONPath=`.status.gpus.pending`
// +kubebuilder:printcolumn:name="Jobs running",type=integer,JSONPath=`.status.runningJobs`
// +kubebuilder:printcolumn:name="Jobs pending",type=integer,JSONPath=`.status.pendingJobs`
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.state`
// +kubebuilder:printcolumn:name="Why",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name != 'root' || !has(self.spec.parent) && !has(self.spec.name)",message="the queue named root is the root: it has no parent and no other name"
// +kubebuilder:validation:XValidation:rule="self.metadata.name != 'root' || !has(self.spec.guaranteed) && !has(self.spec.max)",message="the root has what the nodes have: set guaranteed and max on the queues below it"
// +kubebuilder:validation:XValidation:rule="self.metadata.name == 'root' || !has(self.spec.pool)",message="spec.pool holds for all queues: write it into the queue named root"
// +kubebuilder:validation:XValidation:rule="has(self.spec.name) || size(self.metadata.name) <= 64 && !self.metadata.name.contains('.')",message="the name of a queue has 1 to 64 letters, digits and - _ # @ / : (no dot); set spec.name, which need only differ from its siblings"
// +kubebuilder:validation:XValidation:rule="!has(self.spec.parent) || self.spec.parent != self.metadata.name",message="a queue can't be its own parent; name the Queue object above it, or leave parent out for directly below root"
type Queue struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +kubebuilder:default={}
	Spec   QueueSpec   `json:"spec,omitempty"`
	Status QueueStatus `json:"status,omitempty"`
}

// QueueList is a list of queues.
//
// +kubebuilder:object:root=true
type QueueList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Queue `json:"items"`
}

// QueueSpec is what a queue may have, and how its jobs are treated.
//
// A queue keeps its parent and its name: jobs name it by its path, and moving it would
// move everything below it at once.
//
// +kubebuilder:validation:XValidation:rule="has(self.parent) == has(oldSelf.parent) && (!has(self.parent) || self.parent == oldSelf.parent)",message="a queue can't be moved: delete it and create it anew below the other parent",fieldPath=".parent"
// +kubebuilder:validation:XValidation:rule="has(self.name) == has(oldSelf.name) && (!has(self.name) || self.name == oldSelf.name)",message="a queue can't be renamed: delete it and create it anew",fieldPath=".name"
type QueueSpec struct {
	// Parent is the name of the Queue object above this one; none is the root.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Parent string `json:"parent,omitempty"`
	// Name is the last part of the queue's path, where the name of the object won't do:
	// names of objects differ in the whole cluster, those of queues among siblings.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9_:#/@-]+$')",message="the name of a queue has 1 to 64 letters, digits and - _ # @ / :"
	Name string `json:"name,omitempty"`
	// DynamicChildren lets placement rules create queues below this one.
	// +optional
	DynamicChildren bool `json:"dynamicChildren,omitempty"`
	// SubmitACL says who may submit jobs: "users groups", each a list with commas or *.
	// It holds for all queues below, too.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	SubmitACL string `json:"submitACL,omitempty"`
	// AdminACL says who may administer the queue, in the same form.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	AdminACL string `json:"adminACL,omitempty"`

	QueueSettings `json:",inline"`

	// Limits bound what one user, or one group, may use in the queue and all below it.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Limits []Limit `json:"limits,omitempty"`
	// Template has the settings of queues that placement rules create below this one.
	// +optional
	Template *QueueSettings `json:"template,omitempty"`
	// Pool has what holds for all queues together; only the queue named root has it.
	// +optional
	Pool *Pool `json:"pool,omitempty"`
}

// QueueSettings are what a queue and a template for dynamic queues have in common.
//
// +kubebuilder:validation:XValidation:rule="!has(self.guaranteed) || !has(self.max) || self.guaranteed.all(r, !(r in self.max) || (type(self.guaranteed[r]) == string ? quantity(self.guaranteed[r]) : quantity('0').add(self.guaranteed[r])).compareTo(type(self.max[r]) == string ? quantity(self.max[r]) : quantity('0').add(self.max[r])) <= 0)",message="max is below guaranteed for a resource: raise max or lower guaranteed",fieldPath=".max"
type QueueSettings struct {
	// Guaranteed is what the queue can always get back, by reclaim if need be. A resource
	// that is not mentioned has no guarantee.
	// +optional
	Guaranteed Resources `json:"guaranteed,omitempty"`
	// Max is what the queue never exceeds. A resource that is not mentioned is unbounded;
	// 0 forbids it.
	// +optional
	Max Resources `json:"max,omitempty"`
	// MaxApplications is how many jobs may run in the queue and all below it at a time; 0
	// is unbounded.
	// +optional
	// +kubebuilder:validation:Minimum=0
	MaxApplications int64 `json:"maxApplications,omitempty"`
	// Weight of the queue's part of what is shared above the guarantees; 0 is by the
	// guarantee.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Weight int64 `json:"weight,omitempty"`
	// Policies that decide in this queue and all below it, by the names of built-ins or of
	// Policy objects.
	// +optional
	Policies *QueuePolicies `json:"policies,omitempty"`
	// StrictFIFO lets a job that can't start keep back those behind it.
	// +optional
	StrictFIFO bool `json:"strictFIFO,omitempty"`
	// ReserveAfter is how long the first job may be skipped before nodes are reserved for
	// it, or never. Empty is the parent's; the root's is 5m.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^(never|([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+)$')",message="must be a duration or never: write 90s, 5m or 1h30m"
	ReserveAfter string `json:"reserveAfter,omitempty"`
	// MinRuntime is how long a task runs before it can be a victim. Empty is the parent's.
	// +optional
	MinRuntime Duration `json:"minRuntime,omitempty"`
	// +optional
	Preemption *Preemption `json:"preemption,omitempty"`
	// Properties are YuniKorn's properties of a queue, as they are.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Properties map[string]string `json:"properties,omitempty"`
}

// QueuePolicies name the policies of a queue; empty is the parent's.
type QueuePolicies struct {
	// JobOrder orders the jobs of a queue: fifo, priority-fifo, fair … or a Policy.
	// +optional
	JobOrder PolicyName `json:"jobOrder,omitempty"`
	// Fairness shares between queues: guaranteed-fair, drf … or a Policy.
	// +optional
	Fairness PolicyName `json:"fairness,omitempty"`
	// Victims prices evictions: least-lost-work, youngest-first … or a Policy.
	// +optional
	Victims PolicyName `json:"victims,omitempty"`
}

// PolicyName is the name of a built-in or of a Policy object.
//
// +kubebuilder:validation:MaxLength=128
// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9][a-zA-Z0-9_./@:-]*$')",message="the name of a policy has letters, digits and _ . / @ : -, at most 128"
type PolicyName string

// Preemption says how preemption treats a queue.
type Preemption struct {
	// Policy fence keeps preemption that starts in the subtree inside it; disabled also
	// makes its jobs no victims.
	// +optional
	// +kubebuilder:validation:Enum=default;fence;disabled
	Policy string `json:"policy,omitempty"`
	// Delay is how long a job waits before it may preempt, so that an autoscaler can act
	// first. Empty is the parent's.
	// +optional
	Delay Duration `json:"delay,omitempty"`
	// IdleAfter makes pods of the queue whose GPUs did nothing for so long, watched all the
	// time by a probe, the first to be evicted when another queue takes its guarantee back,
	// or never. Empty is the parent's; nobody's if it is set nowhere.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self == 'never' || self.matches('^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$')",message="must be a duration or never: write 30m"
	IdleAfter string `json:"idleAfter,omitempty"`
	// IdleGrace is how long before its eviction such a pod is told; if it wakes up within
	// that time it stays. Empty is the parent's; 10s if it is set nowhere.
	// +optional
	IdleGrace Duration `json:"idleGrace,omitempty"`
}

// Limit bounds users and groups. * in users means each user, * in groups all others
// together.
//
// +kubebuilder:validation:XValidation:rule="has(self.users) && size(self.users) > 0 || has(self.groups) && size(self.groups) > 0",message="a limit names users or groups: users: ['*']"
// +kubebuilder:validation:XValidation:rule="has(self.max) && size(self.max) > 0 || has(self.maxApplications) && self.maxApplications > 0",message="a limit without max and maxApplications limits nothing"
type Limit struct {
	// Name is for people.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Name string `json:"name,omitempty"`
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=128
	Users []string `json:"users,omitempty"`
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=128
	Groups []string `json:"groups,omitempty"`
	// +optional
	Max Resources `json:"max,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=0
	MaxApplications int64 `json:"maxApplications,omitempty"`
}

// Pool has the settings of all queues together.
type Pool struct {
	// Placement chooses nodes.
	// +optional
	// +kubebuilder:validation:Enum=fragmentation;binpack;spread
	Placement string `json:"placement,omitempty"`
	// UsageHalfLife is the time after which past usage counts half; empty is 168h.
	// +optional
	UsageHalfLife Duration `json:"usageHalfLife,omitempty"`
	// UseMaxAge is how long a measurement of GPU use holds; empty is 2m.
	// +optional
	UseMaxAge Duration `json:"useMaxAge,omitempty"`
	// PlacementRules find the queue of jobs that name none, the first that does so.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	PlacementRules []PlacementRule `json:"placementRules,omitempty"`
}

// PlacementRule is one of YuniKorn's placement rules.
type PlacementRule struct {
	// Name is the kind of the rule.
	// +kubebuilder:validation:Enum=user;fixed;provided;tag
	Name string `json:"name"`
	// Value is the path of a queue for fixed, the name of a tag for tag.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Value string `json:"value,omitempty"`
	// Create lets the rule create the queue.
	// +optional
	Create bool `json:"create,omitempty"`
	// +optional
	Filter *RuleFilter `json:"filter,omitempty"`
	// Parents are the rules that find the queue above, from the inside out: the parent of
	// this rule, the parent of that one, and so on.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Parents []OuterRule `json:"parents,omitempty"`
}

// OuterRule is a placement rule that finds the queue above that of another one.
type OuterRule struct {
	// +kubebuilder:validation:Enum=user;fixed;provided;tag
	Name string `json:"name"`
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Value string `json:"value,omitempty"`
	// +optional
	Create bool `json:"create,omitempty"`
	// +optional
	Filter *RuleFilter `json:"filter,omitempty"`
}

// RuleFilter limits a placement rule to users and groups.
type RuleFilter struct {
	// +optional
	// +kubebuilder:validation:Enum=allow;deny
	Type string `json:"type,omitempty"`
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Users []string `json:"users,omitempty"`
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Groups []string `json:"groups,omitempty"`
}

// QueueStatus is what the scheduler says of a queue.
type QueueStatus struct {
	// ObservedGeneration is the generation that the conditions are about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Path is the full path, as jobs name the queue.
	// +optional
	Path string `json:"path,omitempty"`
	// State is Active, Outdated (an older spec holds, see Accepted) or Refused.
	// +optional
	State QueueState `json:"state,omitempty"`
	// Guaranteed, Max, Used and Pending are of the queue and all below it, in the tree
	// that holds. Pending is what jobs that wait have asked for.
	// +optional
	Guaranteed Resources `json:"guaranteed,omitempty"`
	// +optional
	Max Resources `json:"max,omitempty"`
	// +optional
	Used Resources `json:"used,omitempty"`
	// +optional
	Pending Resources `json:"pending,omitempty"`
	// GPUs sums up the same for GPUs of all types.
	// +optional
	GPUs *GPUs `json:"gpus,omitempty"`
	// +optional
	RunningJobs *int64 `json:"runningJobs,omitempty"`
	// +optional
	PendingJobs *int64 `json:"pendingJobs,omitempty"`
	// Conditions are Accepted: whether the spec is what holds, and if not, why.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// QueueState sums up a queue's conditions in one word.
//
// +kubebuilder:validation:Enum=Active;Outdated;Refused
type QueueState string

// The states of a queue.
const (
	QueueActive   QueueState = "Active"   // the spec holds
	QueueOutdated QueueState = "Outdated" // an older spec holds
	QueueRefused  QueueState = "Refused"  // it is not in the tree
)

// GPUs are whole and parts of GPUs of all types; - is unbounded.
type GPUs struct {
	Guaranteed string `json:"guaranteed"`
	Max        string `json:"max"`
	Used       string `json:"used"`
	Pending    string `json:"pending"`
}

// Accepted is the condition of a queue that says whether its spec holds. Its reasons:
// Applied, Invalid, ParentMissing, Cycle, DuplicateName, Waiting and InUse.
const Accepted = "Accepted"
