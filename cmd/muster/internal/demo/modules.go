package demo

import (
	"context"
	"errors"

	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/loop"
	"github.com/musterhq/muster/runtime/reload"
	"github.com/musterhq/muster/runtime/reload/wanted"
)

// Modules are job orders in Wasm that live as in a scheduler: each is fetched,
// verified, compiled and checked; the next one runs as a shadow of the first until it
// takes over.
type Modules struct {
	// First and Next are files.
	First, Next string
	// Life is how they are loaded, without Swap.
	Life reload.Options

	manager *reload.Manager
	loaded  chan error // of the shadow
}

// Begin loads the first one into the loop, and the next one in the background.
func (m *Modules) Begin(ctx context.Context, l *loop.Loop, rest cycle.Set, swaps bool) (policies.Info, error) {
	life := m.Life
	life.Swap = reload.Into(l.Swap, rest)
	manager, err := reload.New(life)
	if err != nil {
		return policies.Info{}, err
	}
	m.manager, m.loaded = manager, make(chan error, 1)
	v, err := manager.Load(ctx, wantedAs(RoleOrder, m.First))
	if err != nil || !swaps {
		close(m.loaded)
		return infoOf(v), err
	}
	go func() {
		s := wantedAs(RoleOrder+"-next", m.Next)
		s.Mode, s.Beside = wanted.Shadow, RoleOrder
		_, err := manager.Load(ctx, s)
		m.loaded <- err
		close(m.loaded)
	}()
	return infoOf(v), nil
}

func wantedAs(name, file string) wanted.Spec {
	return wanted.Spec{Name: name, Source: wanted.Source{Kind: wanted.FromFile, At: file}, Mode: wanted.Active, Kinds: policies.JobOrder}
}

// Swap promotes the shadow. A story that is played without pauses waits here until it
// is compiled.
func (m *Modules) Swap(context.Context) (policies.Info, error) {
	if err := <-m.loaded; err != nil {
		return policies.Info{}, err
	}
	v, err := m.manager.Promote(RoleOrder)
	return infoOf(v), err
}

func infoOf(v reload.Version) policies.Info {
	return policies.Info{Name: v.Name, Version: v.Version, Digest: v.Digest}
}

// End frees both modules.
func (m *Modules) End() error {
	if m.manager == nil {
		return nil
	}
	err := m.manager.Close()
	for e := range m.loaded { // a shadow that was never promoted
		if !errors.Is(e, context.Canceled) {
			err = errors.Join(err, e)
		}
	}
	m.manager = nil
	return err
}
