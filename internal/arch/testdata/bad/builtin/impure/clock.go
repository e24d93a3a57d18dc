// Package impure does what the core must not.
package impure

import (
	"math/rand" // want "the core has no use for math/rand"
	"sync"      // want "the core has no use for sync"
	"time"
)

var mu sync.Mutex

// Now reads the clock in three ways.
func Now(start time.Time) (time.Time, time.Duration) {
	go rand.Int() // want "the core must not start a goroutine"
	select {      // want "the core must not wait on channels"
	case <-time.After(time.Second): // want "the core must not read the clock (time.After)"
	default:
	}
	clock := time.Now                 // want "the core must not read the clock (time.Now)"
	return clock(), time.Since(start) // want "the core must not read the clock (time.Since)"
}

// Fine only computes with times.
func Fine(start time.Time, d time.Duration) time.Time { return start.Add(d * time.Second) }
