package config

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/musterhq/muster/builtin/spec"
)

// YuniKorn's queue properties, and Muster's in their style.
const (
	propSortPolicy   = "application.sort.policy"
	propSortPriority = "application.sort.priority"
	propPreemption   = "preemption.policy"
	propDelay        = "preemption.delay"
	propIdleAfter    = "preemption.idle.after"
	propIdleGrace    = "preemption.idle.grace"
)

// propertyRule is what is accepted; anything else YuniKorn ignores silently.
type propertyRule struct {
	name    string
	valid   func(string) bool
	want    string
	applied bool // by Muster; others are kept as written
}

func oneOf(words ...string) func(string) bool {
	return func(s string) bool { return slices.Contains(words, s) }
}

func positiveDuration(s string) bool {
	d, err := time.ParseDuration(s)
	return err == nil && d > 0
}

func durationOrNever(s string) bool { return s == "never" || positiveDuration(s) }

var propertyRules = []propertyRule{
	{propSortPolicy, oneOf("fifo", "fair", "stateaware"), "fifo, fair or stateaware", true},
	{propSortPriority, oneOf("enabled", "disabled"), "enabled or disabled", true},
	{propPreemption, oneOf("default", "fence", "disabled"), "default, fence or disabled", true},
	{propDelay, positiveDuration, "a duration above 0, like 30s", true},
	{propIdleAfter, durationOrNever, "a duration above 0, like 30m, or never", true},
	{propIdleGrace, positiveDuration, "a duration above 0, like 10s", true},
	{"priority.policy", oneOf("default", "fence"), "default or fence", false},
	{"priority.offset", func(s string) bool { _, err := strconv.ParseInt(s, 10, 32); return err == nil }, "a whole number of 32 bits", false},
	{"quota.preemption.delay", positiveDuration, "a duration above 0, like 30s", false},
	{"application.unschedasks.backoff", func(s string) bool { _, err := strconv.ParseUint(s, 10, 64); return err == nil }, "a whole number from 0", false},
	{"application.unschedasks.backoff.delay", positiveDuration, "a duration above 0, like 30s", false},
}

func ruleOf(name string) (propertyRule, bool) {
	i := slices.IndexFunc(propertyRules, func(r propertyRule) bool { return r.name == name })
	if i < 0 {
		return propertyRule{}, false
	}
	return propertyRules[i], true
}

func checkProperties(r *report, list []property) {
	for _, p := range list {
		rule, known := ruleOf(p.key.text)
		switch {
		case !known:
			r.warnf(p.key.at, CodeUnknownProperty, propertyHint(p.key.text), "there is no property %q; it is ignored", p.key.text)
		case !rule.valid(p.value.text):
			r.warnf(p.value.at, CodeBadProperty, "write "+rule.want, "%q is no value of %s; the default is used", p.value.text, p.key.text)
		case !rule.applied:
			r.warnf(p.key.at, CodeNotApplied, "", "%s is kept, but has no effect in this version of Muster", p.key.text)
		}
	}
}

func propertyHint(name string) string {
	names := make([]string, len(propertyRules))
	for i, r := range propertyRules {
		names[i] = r.name
	}
	return strings.Replace(keyHint(name, names), "known keys", "known properties", 1)
}

// valueOf returns a property that has a valid value, or "".
func valueOf(list []property, name string) string {
	for _, p := range list {
		if rule, ok := ruleOf(name); ok && p.key.text == name && rule.valid(p.value.text) {
			return p.value.text
		}
	}
	return ""
}

// sorting is the pair of properties that make one job order; each is inherited
// for itself.
type sorting struct{ policy, priority string }

// apply returns what holds in a queue with these properties, and the name of the
// job order if one of the two is written there ("" inherits).
func (s sorting) apply(list []property) (sorting, string) {
	own := sorting{valueOf(list, propSortPolicy), valueOf(list, propSortPriority)}
	if own == (sorting{}) {
		return s, ""
	}
	if own.policy != "" {
		s.policy = own.policy
	}
	if own.priority != "" {
		s.priority = own.priority
	}
	switch {
	case s.policy == "fair":
		return s, "fair"
	case s.priority == "disabled":
		return s, "fifo"
	}
	return s, "priority-fifo"
}

// durationOf is the duration of a property, -1 for never; 0 if it is not written, or
// was reported.
func durationOf(list []property, name string) spec.Duration {
	text := valueOf(list, name)
	if text == "never" {
		return -1
	}
	d, _ := time.ParseDuration(text)
	return spec.Duration(d)
}
