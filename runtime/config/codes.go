package config

import "slices"

// Codes of problems. A code never changes its meaning; the comment says what
// refuses (or, for a warning, ignores) the setting in YuniKorn.
const (
	CodeYAML            = "yaml-syntax"       // the text is not YAML
	CodeNotText         = "not-text"          // not UTF-8, or has control characters
	CodeTooLarge        = "too-large"         // beyond MaxBytes, or aliases expand too far
	CodeTooDeep         = "too-deep"          // nested beyond MaxDepth
	CodeTooManyQueues   = "too-many-queues"   // beyond MaxQueues
	CodeTooManyProblems = "too-many-problems" // the list was cut
	CodeAliasCycle      = "alias-cycle"       // an alias inside its own anchor
	CodeUndefinedAlias  = "undefined-alias"   // an alias without an anchor before it
	CodeDuplicateKey    = "duplicate-key"     // a key twice in one mapping
	CodeUnknownKey      = "unknown-key"       // not in the schema
	CodeWrongType       = "wrong-type"        // a list where a mapping belongs, and the like
	CodeBadInteger      = "bad-integer"       // not a whole number from 0 to 2^63-1
	CodeBadDuration     = "bad-duration"      // not a Go duration (Muster's keys)
	CodeBadValue        = "bad-value"         // not one of the allowed words (Muster's keys)

	CodeDuplicatePartition = "duplicate-partition"
	CodeNoQueues           = "no-queues"       // partition without the key queues
	CodeQueueName          = "queue-name"      // does not match the pattern
	CodeDuplicateQueue     = "duplicate-queue" // siblings, case-insensitive
	CodeRootResources      = "root-resources"  // root's size is what the nodes have
	CodeACLSpaces          = "acl-spaces"      // more than "users groups"

	CodeQuantity               = "quantity"                  // not a quantity, negative or overflowing
	CodeDuplicateResource      = "duplicate-resource"        // vcore and cpu in one map
	CodeMaxBelowGuaranteed     = "max-below-guaranteed"      // of one queue
	CodeMaxAboveParent         = "max-above-parent"          // child max against the path's max
	CodeChildrenAboveParent    = "children-above-guaranteed" // sum of guaranteed
	CodeChildrenAboveMax       = "children-above-max"        // sum of guaranteed against max
	CodeMaxAppsAboveParent     = "maxapps-above-parent"
	CodeMaxAppsMissing         = "maxapps-missing" // 0 below a parent that has one
	CodeLimitsDiffer           = "limits-differ"   // partition limits and root limits
	CodeLimitNoSubject         = "limit-no-subject"
	CodeLimitName              = "limit-name"          // user or group pattern
	CodeLimitDuplicate         = "limit-duplicate"     // user or group twice in one queue
	CodeLimitWildcardLast      = "limit-wildcard-last" // a name after *
	CodeLimitWildcardOnly      = "limit-wildcard-only" // group * without a named group
	CodeLimitZero              = "limit-zero"          // all of maxresources are 0
	CodeLimitEmpty             = "limit-empty"         // limits nothing
	CodeLimitAboveQueue        = "limit-above-queue"
	CodeLimitAboveAncestor     = "limit-above-ancestor"      // resources of the same subject
	CodeLimitAppsAboveAncestor = "limit-apps-above-ancestor" // applications of the same subject

	CodeRuleName        = "rule-name"
	CodeRuleValue       = "rule-value"        // fixed and tag need one
	CodeRuleQualified   = "rule-qualified"    // a full path below another rule
	CodeRuleFilterType  = "rule-filter-type"  // not allow or deny
	CodeRuleFilterName  = "rule-filter-name"  // neither a name nor a regular expression
	CodeRuleNoQueue     = "rule-no-queue"     // does not exist, create is false
	CodeRuleQueueLeaf   = "rule-queue-leaf"   // path goes on below a leaf
	CodeRuleQueueParent = "rule-queue-parent" // ends at a parent
	CodeNodeSort        = "node-sort"         // neither fair nor binpacking
	CodeNodeWeight      = "node-weight"       // negative, or not a number

	// Warnings: YuniKorn takes these and does nothing, or something else.
	CodeUnknownProperty = "unknown-property"
	CodeBadProperty     = "bad-property-value"
	CodeUnknownRule     = "unknown-rule"
	CodeUnknownTag      = "unknown-tag" // of a tag rule: no job has it
	CodeCPU             = "cpu-not-vcore"
	CodeACLName         = "acl-name"
	CodeFilterCase      = "filter-type-case"
	CodeFilterName      = "filter-name-ignored"
	CodeUnknownResolver = "unknown-resolver"
	CodeExtraDocument   = "extra-document"
	CodeRootNested      = "root-nested" // a queue named root below the inserted root
	CodeLimitUnchecked  = "limit-beyond-ancestor"
	CodeNobodyMay       = "nobody-may-submit" // no ACL on a queue's path, in a file that has some
	CodeNotApplied      = "not-applied"       // this version of Muster does not act on it where it stands
)

var allCodes = []string{
	CodeYAML, CodeNotText, CodeTooLarge, CodeTooDeep, CodeTooManyQueues, CodeTooManyProblems,
	CodeAliasCycle, CodeUndefinedAlias, CodeDuplicateKey, CodeUnknownKey, CodeWrongType,
	CodeBadInteger, CodeBadDuration, CodeBadValue,
	CodeDuplicatePartition, CodeNoQueues, CodeQueueName, CodeDuplicateQueue, CodeRootResources, CodeACLSpaces,
	CodeQuantity, CodeDuplicateResource, CodeMaxBelowGuaranteed, CodeMaxAboveParent,
	CodeChildrenAboveParent, CodeChildrenAboveMax, CodeMaxAppsAboveParent, CodeMaxAppsMissing,
	CodeLimitsDiffer, CodeLimitNoSubject, CodeLimitName, CodeLimitDuplicate, CodeLimitWildcardLast,
	CodeLimitWildcardOnly, CodeLimitZero, CodeLimitEmpty, CodeLimitAboveQueue, CodeLimitAboveAncestor,
	CodeLimitAppsAboveAncestor,
	CodeRuleName, CodeRuleValue, CodeRuleQualified, CodeRuleFilterType, CodeRuleFilterName,
	CodeRuleNoQueue, CodeRuleQueueLeaf, CodeRuleQueueParent, CodeNodeSort, CodeNodeWeight,
	CodeUnknownProperty, CodeBadProperty, CodeUnknownRule, CodeUnknownTag, CodeCPU, CodeACLName, CodeFilterCase,
	CodeFilterName, CodeUnknownResolver, CodeExtraDocument, CodeRootNested, CodeLimitUnchecked,
	CodeNobodyMay, CodeNotApplied,
}

// Codes lists every code a Problem can have.
func Codes() []string { return slices.Clone(allCodes) }
