package wasm

import (
	"maps"
	"sync"

	"github.com/musterhq/muster/policies"
)

// Stats counts what a Module has done since it was loaded.
type Stats struct {
	Calls    int64 // answered or not
	Rows     int64 // rows of all batches
	RowsSent int64 // rows that the guest saw: fewer where answers were kept
	// Faults counts the calls that failed, by code.
	Faults   map[policies.Code]int64
	Restarts int // instances discarded and started again
	// Fuel of the last call, of all calls, and of the most expensive one, in units.
	// What the guest's _initialize and muster_reserve use does not count.
	LastFuel, TotalFuel, MaxFuel int64
	// Pages of 64 KiB that the instance had after the last call.
	Pages uint32
}

// meterings is the counting side: reading it waits for no call.
type meterings struct {
	mu sync.Mutex
	Stats
}

func (s *meterings) restarted() {
	s.mu.Lock()
	s.Restarts++
	s.mu.Unlock()
}

// sent counts a call that reached the guest.
func (s *meterings) sent(rows int, fuel int64, pages uint32) {
	s.mu.Lock()
	s.RowsSent += int64(rows)
	s.LastFuel, s.Pages = fuel, pages
	s.TotalFuel += fuel
	s.MaxFuel = max(s.MaxFuel, fuel)
	s.mu.Unlock()
}

// called counts a call of the Module.
func (s *meterings) called(rows int) {
	s.mu.Lock()
	s.Calls++
	s.Rows += int64(rows)
	s.LastFuel = 0 // what reaches the guest says more
	s.mu.Unlock()
}

func (s *meterings) failed(code policies.Code) {
	s.mu.Lock()
	if s.Faults == nil {
		s.Faults = map[policies.Code]int64{}
	}
	s.Faults[code]++
	s.mu.Unlock()
}

// Stats returns the counts so far.
func (m *Module) Stats() Stats {
	m.stats.mu.Lock()
	defer m.stats.mu.Unlock()
	s := m.stats.Stats
	s.Faults = maps.Clone(s.Faults)
	return s
}

// LastFuel is the fuel that the last call has used, in units; 0 if it did not reach
// the guest, because every answer was kept.
func (m *Module) LastFuel() int64 {
	m.stats.mu.Lock()
	defer m.stats.mu.Unlock()
	return m.stats.LastFuel
}

// Restarts is how often an instance was discarded and started again.
func (m *Module) Restarts() int {
	m.stats.mu.Lock()
	defer m.stats.mu.Unlock()
	return m.stats.Restarts
}

// Counter is the sum of what the policy has added to one of its counters, 0 to 63; 0
// for any other.
func (m *Module) Counter(id int) int64 {
	if id < 0 || id >= maxCounters {
		return 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.counters[id]
}
