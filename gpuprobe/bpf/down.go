package bpf

import (
	"sync"
	"time"
)

// down is a Watcher that sees nothing, and says why.
type down struct {
	status Status
	events chan Event
	once   sync.Once
}

func newDown(reason, detail string) *down {
	return &down{status: Status{Reason: reason, Detail: detail}, events: make(chan Event)}
}

func (d *down) Status() Status                    { return d.status }
func (d *down) Library(string) error              { return nil }
func (d *down) Arm([]uint32) error                { return nil }
func (d *down) Armed(uint32) (time.Time, bool)    { return time.Time{}, false }
func (d *down) Counts() (map[uint32]Count, error) { return nil, nil }
func (d *down) Events() <-chan Event              { return d.events }
func (d *down) Lost() uint64                      { return 0 }
func (d *down) Close() error                      { d.once.Do(func() { close(d.events) }); return nil }
