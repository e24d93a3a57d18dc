package groups

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What YuniKorn's shim reads of a pod (yunikorn-k8shim, pkg/common/constants). The
// names without a domain are the old ones; KubeRay and the Spark operator still write
// them.
const (
	ykDomain      = "yunikorn.apache.org/"
	ykApp         = ykDomain + "app-id"
	ykAppOld      = "applicationId"
	ykQueue       = ykDomain + "queue"
	ykQueueOld    = "queue"
	ykGroup       = ykDomain + "task-group-name"
	ykGroups      = ykDomain + "task-groups"
	ykParams      = ykDomain + "schedulingPolicyParameters"
	ykUser        = ykDomain + "user.info"
	ykUserOld     = ykDomain + "username"
	ykPreempt     = ykDomain + "allow-preemption"
	ykPlaceholder = ykDomain + "placeholder"

	ykPlaceholderInternal = "internal." + ykDomain + "placeholder"
	ykScheduler           = "yunikorn"
)

// leaders are the groups of KubeRay whose loss ends the whole job.
var leaders = map[string]bool{"headgroup": true, "submittergroup": true}

// yunikorn takes the pod if it names an application or a task group, or asks for
// YuniKorn by name. Its application is the job; where none is named (YuniKorn then
// leaves the pod alone), the RayCluster or the owner is.
func (r *reader) yunikorn() bool {
	app := r.application()
	groups, group := r.annotation(ykGroups), r.annotation(ykGroup)
	if app == "" && groups == "" && group == "" {
		return false
	}
	if app != "" {
		r.job("yunikorn", "yunikorn", app)
	} else {
		r.unnamed()
	}
	r.placeholder()
	r.m.Group = group
	if groups != "" {
		r.taskGroups(groups)
	}
	r.m.Info.Queue = r.ykQueue()
	r.parameters()
	return true
}

// application is the id by YuniKorn's own order of precedence. Spark's selector counts
// only with pods that are YuniKorn's: other schedulers' Spark pods carry it too.
func (r *reader) application() string {
	id := cmp.Or(r.either(ykApp), r.label(ykAppOld))
	if id == "" && (r.pod.Spec.SchedulerName == ykScheduler || r.annotation(ykGroup) != "") {
		id = r.label(sparkApp)
	}
	return id
}

// unnamed finds the job of a pod that has task groups and no application.
func (r *reader) unnamed() {
	if !r.kuberay() && !r.labelled() && !r.controller() {
		r.plain()
	}
	r.m.Dialect, r.m.Info.Groups, r.m.Info.Min = "yunikorn", nil, 0
	r.problem("no-application", at(labelsField, ykApp), "label the pods with "+ykApp,
		"task groups without an application id; the job is taken to be %s", r.m.Job)
}

func (r *reader) ykQueue() string { return cmp.Or(r.either(ykQueue), r.label(ykQueueOld)) }

// placeholder refuses the pods that YuniKorn makes to hold a gang's room.
func (r *reader) placeholder() {
	for _, key := range []string{ykPlaceholder, ykPlaceholderInternal} {
		if r.either(key) == "true" {
			r.fatal("placeholder", at(annotationsField, key), "delete the pod: Muster reserves the room without it",
				"this is a placeholder that YuniKorn left")
			return
		}
	}
}

// taskGroups takes the declared groups over. A list that can't be read is told, and the
// pods start one by one: a scheduler that is put in YuniKorn's place doesn't stop pods
// that ran before.
func (r *reader) taskGroups(text string) {
	d := parsed.taskGroups(text)
	r.problems = append(r.problems, d.problems...)
	r.declared = true
	if len(d.groups) == 0 {
		return
	}
	r.m.Info.Min, r.m.Info.Groups = -1, d.groups
	mine := slices.IndexFunc(d.groups, func(g Group) bool { return g.Name == r.m.Group })
	switch {
	case mine < 0 && r.m.Group != "":
		r.problem("unknown-group", at(annotationsField, ykGroup), "name one of the groups in "+ykGroups,
			"task group %q is not declared; the pod joins as surplus", r.m.Group)
	case mine >= 0 && r.label(sparkRole) == "driver":
		r.m.Info.Groups = slices.Clone(d.groups) // the declaration belongs to all pods with this text
		r.m.Info.Groups[mine].Leader = true
	case mine >= 0:
		r.m.Leader = d.groups[mine].Leader
	}
}

// user reads {"user": "...", "groups": [...]}, which YuniKorn's webhook writes into any pod,
// whatever dialect it speaks.
func (r *reader) user() {
	if r.opt.IgnoreUsers {
		return
	}
	text := r.annotation(ykUser)
	if text == "" {
		r.m.Info.User = r.label(ykUserOld)
		return
	}
	var u struct {
		User   string   `json:"user"`
		Groups []string `json:"groups"`
	}
	if err := json.Unmarshal([]byte(text), &u); err != nil {
		r.problem("bad-user", at(annotationsField, ykUser), `write {"user": "ada", "groups": ["ml"]}`, "not a user: %v", err)
		return
	}
	r.m.Info.User, r.m.Info.UserGroups = u.User, u.Groups
}

// parameters reads "placeholderTimeoutInSeconds=60 gangSchedulingStyle=Hard". Who writes a
// timeout and no style means YuniKorn's, which is Soft; without either the gang waits.
func (r *reader) parameters() {
	styled := false
	for word := range strings.FieldsSeq(r.annotation(ykParams)) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "placeholderTimeoutInSeconds":
			n, err := strconv.ParseInt(value, 10, 32)
			if err != nil || n < 0 {
				r.problem("bad-parameter", at(annotationsField, ykParams), key+"=60", "%q is not a number of seconds", value)
				continue
			}
			r.m.Info.GangTimeout = time.Duration(n) * time.Second
			r.m.Info.Soft = r.m.Info.Soft || !styled
		case "gangSchedulingStyle":
			if value != "Soft" && value != "Hard" {
				r.problem("bad-parameter", at(annotationsField, ykParams), key+"=Soft or =Hard", "there is no style %q; YuniKorn takes Soft for it", value)
			}
			r.m.Info.Soft, styled = value != "Hard", true
		default:
			r.problem("bad-parameter", at(annotationsField, ykParams),
				"known are placeholderTimeoutInSeconds and gangSchedulingStyle, with = and no blanks", "unknown parameter %q", word)
		}
	}
}

// allowPreemption reads YuniKorn's annotation of any pod; where it has none, that of its
// priority class.
func (r *reader) allowPreemption() {
	switch text := r.annotation(ykPreempt); text {
	case "true":
	case "":
		c := r.classNamed(r.pod.Spec.PriorityClassName)
		r.m.Info.LastVictim = r.m.Info.LastVictim || c != nil && c.AllowPreemption == "false"
	case "false":
		r.m.Info.LastVictim = true
	default:
		r.problem("bad-bool", at(annotationsField, ykPreempt), "write true or false", "%q is neither true nor false", text)
	}
}
