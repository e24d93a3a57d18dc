package v1alpha1

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Policy is a scheduling policy that the scheduler loads: a Wasm module or rules in Rego.
// Queues name it; until they do, it decides nothing.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=mp,categories=muster
// +kubebuilder:printcolumn:name="Kinds",type=string,JSONPath=`.status.kindsText`
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.status.version`
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.state`
// +kubebuilder:printcolumn:name="Digest",type=string,JSONPath=`.status.digestShort`
// +kubebuilder:printcolumn:name="Since",type=date,JSONPath=`.status.since`
// +kubebuilder:printcolumn:name="Queues",type=integer,JSONPath=`.status.queueCount`
// +kubebuilder:printcolumn:name="Faults",type=integer,JSONPath=`.status.calls.faults`,priority=1
// +kubebuilder:printcolumn:name="Why",type=string,JSONPath=`.status.message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 128",message="the name of a policy has at most 128 characters"
type Policy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   PolicySpec   `json:"spec"`
	Status PolicyStatus `json:"status,omitempty"`
}

// PolicyList is a list of policies.
//
// +kubebuilder:object:root=true
type PolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Policy `json:"items"`
}

// Annotations by which operators ask for one action. Each new value is one request; the
// values that were answered are in status.requests.
const (
	// RollbackAnnotation brings the version before back at once. It lasts until the spec
	// or its source changes, or the scheduler restarts: change the spec to make it last.
	RollbackAnnotation = "muster.dev/rollback"
	// ReloadAnnotation fetches the policy again, and lifts a quarantine.
	ReloadAnnotation = "muster.dev/reload"
	// PromoteAnnotation makes a shadow active at once. To make it last, write mode: active.
	PromoteAnnotation = "muster.dev/promote"
)

// PolicySpec says where a policy comes from, whom to believe and how to run it.
//
// +kubebuilder:validation:XValidation:rule="!has(self.beside) || self.mode == 'shadow'",message="beside is for shadows: write mode: shadow, or leave beside out",fieldPath=".beside"
// +kubebuilder:validation:XValidation:rule="!has(self.signatures) || has(self.signedBy) && self.signatures <= size(self.signedBy)",message="more signatures than signers are wanted: list more keys in signedBy",fieldPath=".signatures"
// +kubebuilder:validation:XValidation:rule="!has(self.source.inline) || self.mode == 'active'",message="rules can't run as a shadow: write mode: active, and try them by muster policy test",fieldPath=".mode"
type PolicySpec struct {
	Source PolicySource `json:"source"`
	// Digest pins the policy: sha256:… of the module, the bundle or the artifact's
	// manifest. Empty takes what is there.
	// +optional
	// +kubebuilder:validation:MaxLength=71
	// +kubebuilder:validation:XValidation:rule="self.matches('^sha256:[0-9a-f]{64}$')",message="a digest is sha256: and 64 hexadecimal digits in lower case; muster policy inspect prints it"
	Digest string `json:"digest,omitempty"`
	// SignedBy are ids of trusted keys that must have signed; empty is any of them, if the
	// scheduler was given trusted keys.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=128
	SignedBy []string `json:"signedBy,omitempty"`
	// Signatures is how many of SignedBy must have signed; empty is 1.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Signatures int32 `json:"signatures,omitempty"`
	// Params are the policy's settings: numbers, truth values and texts.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Params map[string]apiextensionsv1.JSON `json:"params,omitempty"`
	// Kinds are what the policy must decide; of a shadow, what is compared.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=3
	Kinds []PolicyKindName `json:"kinds,omitempty"`
	// +optional
	Limits *PolicyLimits `json:"limits,omitempty"`
	// Mode active decides; shadow is asked beside what decides, and only compared.
	// +optional
	// +kubebuilder:default=active
	// +kubebuilder:validation:Enum=active;shadow
	Mode string `json:"mode,omitempty"`
	// Beside is what a shadow is compared with, and takes the place of when its mode
	// becomes active by promotion: a Policy or a built-in.
	// +optional
	Beside PolicyName `json:"beside,omitempty"`
	// ShadowFor is how long a new version runs as a shadow before it takes over by itself;
	// it does not if it failed once.
	// +optional
	ShadowFor Duration `json:"shadowFor,omitempty"`
}

// PolicyKindName is what a policy decides.
//
// +kubebuilder:validation:Enum=job_order;queue_shares;victim_costs
type PolicyKindName string

// PolicySource is where a policy comes from: exactly one of these.
//
// +kubebuilder:validation:XValidation:rule="[has(self.configMap), has(self.oci), has(self.inline), has(self.file), has(self.folder), has(self.layout)].filter(x, x).size() == 1",message="a policy has exactly one source: write one of configMap, oci, inline, file, folder and layout"
type PolicySource struct {
	// ConfigMap holds the policy under a key, or rules as all its keys.
	// +optional
	ConfigMap *ConfigMapSource `json:"configMap,omitempty"`
	// OCI is an artifact in a registry.
	// +optional
	OCI *OCISource `json:"oci,omitempty"`
	// Inline are rules in this object.
	// +optional
	Inline *InlineSource `json:"inline,omitempty"`
	// File is a module or bundle in the scheduler's file system.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	File string `json:"file,omitempty"`
	// Folder in the scheduler's file system: the newest module in it, or rules.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Folder string `json:"folder,omitempty"`
	// Layout is FOLDER:TAG, an OCI image layout in the scheduler's file system.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.matches('^.+(:[a-zA-Z0-9_][a-zA-Z0-9._-]*|@sha256:[0-9a-f]{64})$')",message="write FOLDER:TAG or FOLDER@sha256:…"
	Layout string `json:"layout,omitempty"`
}

// ConfigMapSource is a policy in a ConfigMap: a module or bundle in binaryData, or rules
// in data. A key KEY.sig beside it holds signatures. A module under a key that ends in
// .gz is unpacked first: a ConfigMap holds 1 MiB.
type ConfigMapSource struct {
	// Namespace of the ConfigMap; empty is that of the scheduler.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Key of a module or bundle; empty takes the one key that ends in .wasm or .wasm.gz,
	// or all *.rego, *.json and *.yaml together as rules.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key,omitempty"`
}

// OCISource is an artifact that muster policy push has made.
type OCISource struct {
	// Reference is REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@sha256:….
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^/@]+/.+(:[a-zA-Z0-9_][a-zA-Z0-9._-]*|@sha256:[0-9a-f]{64})$')",message="write REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@sha256:…; there is no default tag"
	Reference string `json:"reference"`
	// PlainHTTP is for a registry on the scheduler's own machine.
	// +optional
	PlainHTTP bool `json:"plainHTTP,omitempty"`
}

// InlineSource are small rules, written where they are wanted.
type InlineSource struct {
	// Rego is one module of rules.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	Rego string `json:"rego"`
}

// PolicyLimits bound the calls of a module; empty values are the engine's defaults.
type PolicyLimits struct {
	// Memory of the module, from 64Ki to 4Gi.
	// +optional
	// +kubebuilder:validation:XValidation:rule="(type(self) == string ? quantity(self) : quantity('0').add(self)).compareTo(quantity('64Ki')) >= 0 && (type(self) == string ? quantity(self) : quantity('0').add(self)).compareTo(quantity('4Gi')) <= 0",message="memory is from 64Ki to 4Gi: write 16Mi"
	Memory *Quantity `json:"memory,omitempty"`
	// FuelBase and FuelPerRow bound what a call may compute.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1099511627776
	FuelBase int64 `json:"fuelBase,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4294967296
	FuelPerRow int64 `json:"fuelPerRow,omitempty"`
	// Timeout of one call, which only matters if fuel did not end it.
	// +optional
	Timeout Duration `json:"timeout,omitempty"`
}

// PolicyStatus is how far a policy has come.
type PolicyStatus struct {
	// ObservedGeneration is the generation that the status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// State of the version that the spec asks for: Fetching, Shadow, Active, Quarantined,
	// RolledBack or Refused.
	// +optional
	State string `json:"state,omitempty"`
	// Code and Message say why; codes never change their meaning (docs/policy-operators.md).
	// +optional
	Code string `json:"code,omitempty"`
	// +optional
	Message string `json:"message,omitempty"`
	// Since is when the state began.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
	// PolicyName, Version and Kinds are what the policy says of itself.
	// +optional
	PolicyName string `json:"policyName,omitempty"`
	// +optional
	Version string `json:"version,omitempty"`
	// +optional
	// +listType=atomic
	Kinds []string `json:"kinds,omitempty"`
	// KindsText is Kinds in one line.
	// +optional
	KindsText string `json:"kindsText,omitempty"`
	// +optional
	Digest string `json:"digest,omitempty"`
	// DigestShort is the start of Digest.
	// +optional
	DigestShort string `json:"digestShort,omitempty"`
	// Origin is what the source meant: the digest of a tag, a file of a folder.
	// +optional
	Origin string `json:"origin,omitempty"`
	// Signers are the trusted keys whose signatures hold.
	// +optional
	// +listType=atomic
	Signers []string `json:"signers,omitempty"`
	// Active is what decides now under the name that queues use, if that is another
	// version than this; Standby is what a rollback brings back.
	// +optional
	Active *PolicyVersion `json:"active,omitempty"`
	// +optional
	Standby *PolicyVersion `json:"standby,omitempty"`
	// Calls of the version that the spec asks for.
	// +optional
	Calls *PolicyCalls `json:"calls,omitempty"`
	// Shadow sums up what a shadow would have decided differently.
	// +optional
	Shadow *ShadowSummary `json:"shadow,omitempty"`
	// Queues that name the policy, the first of them.
	// +optional
	// +listType=atomic
	Queues []string `json:"queues,omitempty"`
	// +optional
	QueueCount *int64 `json:"queueCount,omitempty"`
	// Requests are the values of the annotations that were answered.
	// +optional
	Requests map[string]string `json:"requests,omitempty"`
	// Conditions are Fetched, Verified, Checked, Active, Quarantined and InUse.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// PolicyVersion names one version.
type PolicyVersion struct {
	// +optional
	Name string `json:"name,omitempty"`
	// +optional
	Version string `json:"version,omitempty"`
	// +optional
	Digest string `json:"digest,omitempty"`
}

// PolicyCalls count how a policy answers.
type PolicyCalls struct {
	// Calls that reached the policy.
	Calls int64 `json:"calls"`
	// Faults of them; the built-in answered instead.
	Faults int64 `json:"faults"`
	// Declined are calls that the policy left to the built-in.
	Declined int64 `json:"declined"`
	// Skipped are calls that did not reach it, in a quarantine.
	Skipped int64 `json:"skipped"`
	// +optional
	LastCode string `json:"lastCode,omitempty"`
	// +optional
	LastText string `json:"lastText,omitempty"`
}

// ShadowSummary is the start of a shadow's report; muster policy status has all of it.
type ShadowSummary struct {
	// Beside is what it is compared with.
	Beside string `json:"beside"`
	// Compared batches, those of them that differ, and the shadow's failures.
	Compared int64 `json:"compared"`
	Differs  int64 `json:"differs"`
	Failures int64 `json:"failures"`
	// Example is one of the largest differences, in words.
	// +optional
	Example string `json:"example,omitempty"`
}

// Conditions of a policy. The reasons are the codes of docs/policy-operators.md in
// CamelCase: DigestDiffers, NotCompiled, RolledBack …
const (
	PolicyFetched     = "Fetched"     // the source was read
	PolicyVerified    = "Verified"    // digest, signatures and load rules agree
	PolicyChecked     = "Checked"     // it compiles, and passes the smoke set
	PolicyActive      = "Active"      // it decides for whoever names it
	PolicyQuarantined = "Quarantined" // it failed too often; the built-in decides
	PolicyInUse       = "InUse"       // at least one queue names it
)
