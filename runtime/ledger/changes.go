package ledger

import "github.com/musterhq/muster/builtin/spec"

func (e JobGrown) apply(*Ledger, spec.Time) error    { return refuse("not-yet", "%T", e) }
func (e JobGang) apply(*Ledger, spec.Time) error     { return refuse("not-yet", "%T", e) }
func (e TaskAbsent) apply(*Ledger, spec.Time) error  { return refuse("not-yet", "%T", e) }
func (e TaskAgain) apply(*Ledger, spec.Time) error   { return refuse("not-yet", "%T", e) }
func (e TaskRunning) apply(*Ledger, spec.Time) error { return refuse("not-yet", "%T", e) }
func (e TaskClaimed) apply(*Ledger, spec.Time) error { return refuse("not-yet", "%T", e) }
func (e NodeUsed) apply(*Ledger, spec.Time) error    { return refuse("not-yet", "%T", e) }
func (e JobNear) apply(*Ledger, spec.Time) error     { return refuse("not-yet", "%T", e) }
